//! Whole objects: recorded ones, look-alikes, metadata that cannot be right, ranges.

use std::io::Read as _;

use serde_json::Value;
use shardpack::{
    Error, Result,
    codec::{Codec, CpuGzip, CpuZstd, Passthrough},
    error::IndexError,
    frame::{
        index::Index,
        object::{Metadata, Opened, SidecarState, check_sidecar, decode_range, encode, key},
        pick_chunk_size,
        read::Decoding,
    },
    pool::{self, Cancel},
};

use crate::vectors::{
    DICTIONARY, codec_of, compress, decoding, hex, input, json, make, number, read, rows, sha256,
    text, unhex,
};

pub type Pairs = Vec<(String, String)>;

fn pairs(value: &Value) -> Pairs {
    let pairs = value.as_object().expect("metadata").iter();
    pairs
        .map(|(key, value)| (key.clone(), value.as_str().expect("text").to_owned()))
        .collect()
}

pub fn metadata(pairs: &[(String, String)]) -> Metadata {
    Metadata::new(
        pairs
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str())),
    )
}

pub fn owned(pairs: &[(&str, &str)]) -> Pairs {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// Opens, reserves, decodes: what callers do.
pub fn decode_with(
    body: &[u8],
    pairs: &[(String, String)],
    sidecar: Option<&Index>,
    decoding: Decoding<'_>,
) -> Result<Vec<u8>> {
    let metadata = metadata(pairs);
    let opened = Opened::new(&metadata, body, sidecar)?;
    let mut decoded = vec![0xAA; opened.output_len(decoding)?];
    opened.decode_into(&metadata, &mut decoded, decoding)?;
    Ok(decoded)
}

pub fn decode(body: &[u8], pairs: &[(&str, &str)]) -> Result<Vec<u8>> {
    decode_with(body, &owned(pairs), None, decoding())
}

/// A recorded object.
struct Recorded {
    row: Value,
    name: String,
    body: Vec<u8>,
    pairs: Pairs,
    sidecar: Option<Index>,
    dictionary: Option<CpuZstd>,
}

fn recorded() -> Vec<Recorded> {
    let load = |row: Value| {
        let file = |key: &str| row[key].as_str().map(|name| read(&format!("s4/{name}")));
        let mut body = file("body").expect("body");
        if body.starts_with(&[0x1f, 0x8b]) {
            let packed = std::mem::take(&mut body);
            flate2::read::GzDecoder::new(packed.as_slice())
                .read_to_end(&mut body)
                .unwrap();
        }
        assert_eq!(body.len() as u64, number(&row, "body_size"));
        Recorded {
            name: text(&row, "name").to_owned(),
            pairs: pairs(&json(&format!("s4/{}", text(&row, "meta")))),
            sidecar: file("sidecar").map(|bytes| Index::decode(&bytes).unwrap()),
            dictionary: file("dict")
                .map(|bytes| CpuZstd::new_with_dictionary(&bytes, 3, false).unwrap()),
            body,
            row,
        }
    };
    rows(&json("s4/cases.json"), "objects")
        .into_iter()
        .map(load)
        .collect()
}

#[test]
fn recorded_objects_decode_on_any_number_of_threads() {
    for object in recorded() {
        let decoding = Decoding {
            dictionary: object.dictionary.as_ref(),
            ..decoding()
        };
        let decode = || {
            decode_with(
                &object.body,
                &object.pairs,
                object.sidecar.as_ref(),
                decoding,
            )
        };
        for decoded in [decode(), pool::install(Some(3), decode).unwrap()] {
            match decoded {
                Ok(plain) => {
                    assert_eq!(plain.len() as u64, number(&object.row, "plain_size"));
                    assert_eq!(
                        sha256(&plain),
                        text(&object.row, "plain_sha256"),
                        "{}",
                        object.name
                    );
                }
                Err(error) => {
                    assert_eq!(
                        object.row["error"], "NotImplementedError",
                        "{}: {error}",
                        object.name
                    );
                    assert!(
                        matches!(error, Error::Encrypted { .. }),
                        "{}: {error}",
                        object.name
                    );
                }
            }
        }
    }
}

#[test]
fn recorded_sidecars_say_what_the_bodies_have_and_give_the_right_ranges() {
    let mut count = 0;
    for object in recorded() {
        let Some(index) = &object.sidecar else {
            continue;
        };
        let plain = decode_with(&object.body, &object.pairs, None, decoding()).unwrap();
        assert_eq!(Index::build(&object.body).unwrap().entries, index.entries);
        check_sidecar(index, &object.body).unwrap();
        let size = object.body.len() as u64;
        assert_eq!(
            SidecarState::of(Some(index), size, None),
            SidecarState::Trusted
        );
        assert_eq!(
            SidecarState::of(Some(index), size + 1, None),
            SidecarState::Stale
        );
        let total = plain.len();
        for (start, end) in [
            (0, 1),
            (total - 1, total + 9),
            (4_194_300, 4_194_310),
            (0, total),
            (total, total + 1),
            (9, 9),
            (9, 5),
        ] {
            for sidecar in [None, Some(index)] {
                let range = (start as u64, end as u64);
                let slice = decode_range(
                    &metadata(&object.pairs),
                    &object.body,
                    sidecar,
                    range,
                    decoding(),
                )
                .unwrap();
                let expected = plain.get(start..end.min(total)).unwrap_or_default();
                assert!(slice.bytes() == expected, "{} {start}..{end}", object.name);
            }
        }
        count += 1;
    }
    assert_eq!(count, 2);
}

#[test]
fn recorded_objects_are_written_again() {
    for object in recorded() {
        let settings = &object.row["reencode"];
        if settings.is_null() {
            continue;
        }
        let plain = decode_with(&object.body, &object.pairs, None, decoding()).unwrap();
        let chunk = pick_chunk_size(plain.len() as u64) as usize;
        let written = encode(&*codec_of(settings), &plain, chunk, &Cancel::new()).unwrap();
        assert!(
            written.body.frames.concat() == object.body,
            "{}",
            object.name
        );
        let mut pairs: Pairs = written
            .metadata
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect();
        pairs.sort();
        assert_eq!(pairs, object.pairs, "{}", object.name);
    }
}

#[test]
fn recorded_encodings_are_made_again() {
    for row in rows(&json("s4/object_vectors.json"), "vectors") {
        let plain = input(&row["input"]);
        let chunk = pick_chunk_size(plain.len() as u64) as usize;
        let codec = codec_of(&row);
        let write = || encode(&*codec, &plain, chunk, &Cancel::new()).unwrap();
        let written = pool::install(Some(2), write).unwrap();
        let body = written.body.frames.concat();
        assert_eq!(body.len() as u64, number(&row, "body_size"), "{row}");
        assert_eq!(sha256(&body), text(&row, "body_sha256"), "{row}");
        let mut order = vec![
            key::CODEC,
            key::ORIGINAL_SIZE,
            key::COMPRESSED_SIZE,
            key::CRC32C,
        ];
        if text(&row, "codec") == "cpu-zstd" {
            order.push(key::FRAMED);
        }
        let keys: Vec<_> = written.metadata.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, order, "{row}");
        for (key, value) in &written.metadata {
            assert_eq!(text(&row["metadata"], key), value, "{row}");
        }
        let sidecar = written.index.as_ref().map(|index| hex(&index.encode()));
        assert_eq!(sidecar.as_deref(), row["sidecar_hex"].as_str(), "{row}");
        if let Some(mut index) = written.index {
            index.bind(body.len() as u64, row["bind_etag"].as_str());
            assert_eq!(
                hex(&index.encode()),
                text(&row, "bound_sidecar_hex"),
                "{row}"
            );
            index.bind(body.len() as u64, None);
            assert_eq!(
                index.encode(),
                unhex(text(&row, "size_only_sidecar_hex")),
                "{row}"
            );
        }
        let pairs: Pairs = written
            .metadata
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
        assert!(
            decode_with(&body, &pairs, None, decoding()).unwrap() == plain,
            "{row}"
        );
    }
}

#[test]
fn gzip_is_one_unframed_member() {
    let plain = make("lines", "a", 3000);
    let written = encode(&CpuGzip::new(6), &plain, 1000, &Cancel::new()).unwrap();
    assert_eq!(written.body.frames, [compress(&CpuGzip::new(6), &plain)]);
    assert!(written.index.is_none());
    let keys: Vec<_> = written.metadata.iter().map(|(key, _)| *key).collect();
    assert_eq!(
        keys,
        [
            key::CODEC,
            key::ORIGINAL_SIZE,
            key::COMPRESSED_SIZE,
            key::CRC32C
        ]
    );
}

#[test]
fn a_dictionary_is_used_only_where_it_gains() {
    let cancel = Cancel::new();
    let codec = CpuZstd::new_with_dictionary(&read(DICTIONARY), 3, false).unwrap();
    let gains = make("events", "open", 400);
    let written = encode(&codec, &gains, 1 << 20, &cancel).unwrap();
    let keys: Vec<_> = written.metadata.iter().map(|(key, _)| *key).collect();
    assert_eq!(
        keys,
        [
            key::CODEC,
            key::ORIGINAL_SIZE,
            key::COMPRESSED_SIZE,
            key::CRC32C,
            key::DICT_ID,
            key::FRAMED
        ]
    );
    assert_eq!(written.metadata[0].1, "cpu-zstd-dict");
    assert_eq!(written.metadata[4].1, "2146108d12676334");
    for plain in [make("noise", "a", 400), Vec::new()] {
        let with = encode(&codec, &plain, 1 << 20, &cancel).unwrap();
        let without = encode(&CpuZstd::new(3, false), &plain, 1 << 20, &cancel).unwrap();
        assert_eq!(with.metadata, without.metadata);
        assert_eq!(with.body.frames, without.body.frames);
    }
}

#[test]
fn any_range_of_any_layout_is_the_slice() {
    let plain = make("lines", "a", 2500);
    let codecs: [&dyn Codec; 3] = [&CpuZstd::new(3, false), &CpuGzip::new(6), &Passthrough];
    for codec in codecs {
        let written = encode(codec, &plain, 600, &Cancel::new()).unwrap();
        let body = written.body.frames.concat();
        let pairs: Pairs = written
            .metadata
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect();
        let unbound = Index::build(&body).ok();
        let mut bound = unbound.clone();
        let mut stale = Some(Index::default());
        for (index, size) in [(&mut bound, 0), (&mut stale, 1)] {
            if let Some(index) = index {
                index.bind(body.len() as u64 + size, None);
            }
        }
        for sidecar in [None, unbound, bound, stale] {
            for start in (0..2600).step_by(173) {
                for end in (0..2700).step_by(211).chain([2500, usize::MAX]) {
                    let range = (start as u64, end as u64);
                    let slice = decode_range(
                        &metadata(&pairs),
                        &body,
                        sidecar.as_ref(),
                        range,
                        decoding(),
                    )
                    .unwrap();
                    let expected = plain.get(start..end.min(2500)).unwrap_or_default();
                    assert_eq!(slice.bytes(), expected, "{codec:?} {start}..{end}");
                }
            }
        }
    }
}

#[test]
fn a_sidecar_that_lies_gives_the_right_range_or_an_error() {
    let plain = make("lines", "a", 1500);
    let written = encode(&CpuZstd::new(3, false), &plain, 500, &Cancel::new()).unwrap();
    let body = written.body.frames.concat();
    let metadata = Metadata::new([("s4-framed", "true")]);
    let mut index = written.index.unwrap();
    index.bind(body.len() as u64, Some("tag"));
    let good = index.encode();
    let mut read = 0;
    for bit in 0..8 * good.len() {
        let mut damaged = good.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let Ok(index) = Index::decode(&damaged) else {
            continue;
        };
        read += 1;
        for (start, end) in [
            (0, 1500),
            (100, 600),
            (499, 501),
            (1000, 1500),
            (1499, 1600),
        ] {
            let range = (start as u64, end as u64);
            if let Ok(slice) = decode_range(&metadata, &body, Some(&index), range, decoding()) {
                assert_eq!(
                    slice.bytes(),
                    &plain[start..end.min(1500)],
                    "bit {bit} {start}..{end}"
                );
            }
        }
    }
    assert!(read > 100);
    // One that knows of less than there is does not cut the object short.
    index.entries.pop();
    for range in [(900, 1500), (1200, 1300)] {
        let slice = decode_range(&metadata, &body, Some(&index), range, decoding()).unwrap();
        assert_eq!(slice.bytes(), &plain[range.0 as usize..range.1 as usize]);
    }
}

#[test]
fn a_sidecar_is_compared_with_the_frames() {
    let plain = make("lines", "a", 1500);
    let written = encode(&CpuZstd::new(3, false), &plain, 500, &Cancel::new()).unwrap();
    let body = written.body.frames.concat();
    let index = written.index.unwrap();
    assert_eq!(check_sidecar(&index, &body), Ok(()));
    for at in 0..3 {
        let mut lie = index.clone();
        lie.entries[at].stored_size -= 1;
        let expected = Err(Error::Index(IndexError::FrameMismatch(at as u64)));
        assert_eq!(check_sidecar(&lie, &body), expected);
        lie.entries.truncate(at);
        assert_eq!(check_sidecar(&lie, &body), expected);
    }
    assert_eq!(SidecarState::of(None, 5, None), SidecarState::Absent);
    assert_eq!(
        SidecarState::of(Some(&index), body.len() as u64, None),
        SidecarState::Unbound
    );
}
