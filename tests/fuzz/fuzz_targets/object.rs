//! Whole objects: metadata from the last bytes, the rest is the body, read in full and by range.

#![no_main]

use libfuzzer_sys::fuzz_target;
use shardpack::{
    codec::CodecKind,
    frame::{
        index::Index,
        object::{Metadata, Opened, decode_range},
        read::Decoding,
    },
    pool::Cancel,
};

const LIMIT: u64 = 1 << 20;
/// Bytes behind the body: which metadata there are, the codec, two numbers.
const TAIL_LEN: usize = 10;

fuzz_target!(|object: &[u8]| {
    // The tail is at the end so that recorded bodies are seeds with little damage.
    let Some((body, tail)) = object.split_last_chunk::<TAIL_LEN>() else {
        return;
    };
    let [present, codec, size @ .., c0, c1, c2, c3] = *tail;
    let codec = CodecKind::ALL[usize::from(codec) % CodecKind::ALL.len()].name();
    let size = u32::from_le_bytes(size).to_string();
    let stored = body.len().to_string();
    let crc32c = u32::from_le_bytes([c0, c1, c2, c3]).to_string();
    let pairs = [
        ("s4-codec", codec),
        ("s4-original-size", &size),
        ("s4-compressed-size", &stored),
        ("s4-crc32c", &crc32c),
        ("s4-framed", "true"),
    ];
    let chosen = pairs.into_iter().enumerate().filter(|(bit, _)| present >> bit & 1 == 1);
    let metadata = Metadata::new(chosen.map(|(_, pair)| pair));

    let cancel = Cancel::new();
    let decoding = Decoding { dictionary: None, dict_id: None, limit: LIMIT, cancel: &cancel };
    // Bound to the body, whatever it says: an enemy can write both.
    let mut sidecar = Index::build(body).ok();
    if let Some(index) = &mut sidecar {
        index.bind(body.len() as u64, None);
    }
    let whole = Opened::new(&metadata, body, None).and_then(|opened| {
        let mut bytes = vec![0; opened.output_len(decoding)?];
        opened.decode_into(&metadata, &mut bytes, decoding)?;
        Ok(bytes)
    });
    for index in [None, sidecar.as_ref()] {
        let Ok(part) = decode_range(&metadata, body, index, (10, 1000), decoding) else {
            continue;
        };
        if let Ok(whole) = &whole {
            let end = whole.len().min(1000);
            assert_eq!(part.bytes(), &whole[end.min(10)..end]);
        }
    }
});
