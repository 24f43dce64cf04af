//! Which codec the front of an object asks for.

use proptest::prelude::*;
use shardpack::codec::{CodecKind, sample::pick_codec};

use crate::{
    naive,
    vectors::{data, json, make, rows, text, unhex},
};

#[test]
fn recorded_choices_are_made_again() {
    let file = json("s4/rule_vectors.json");
    let mut count = 0;
    // With a GPU the gateway promotes zstd to a codec that nothing here writes.
    for row in rows(&file, "picks")
        .iter()
        .filter(|row| row["gpu"] == false)
    {
        let sample = unhex(text(&file["samples"], text(row, "sample")));
        assert_eq!(pick_codec(&sample).name(), text(row, "codec"), "{row}");
        let packed = text(row, "codec") == "passthrough";
        assert_eq!(naive::looks_packed(&sample), packed, "{row}");
        count += 1;
    }
    assert!(count >= 20);
}

#[test]
fn only_the_front_counts() {
    let (noise, zeros) = (make("noise", "a", 4096), vec![0; 100_000]);
    assert_eq!(
        pick_codec(&[&noise[..], &zeros].concat()),
        CodecKind::Passthrough
    );
    assert_eq!(
        pick_codec(&[&zeros[..4096], &noise].concat()),
        CodecKind::CpuZstd
    );
}

#[test]
fn short_noise_is_compressed_all_the_same() {
    for len in [0, 1, 127, 128, 200] {
        assert_eq!(
            pick_codec(&make("noise", "a", len)),
            CodecKind::CpuZstd,
            "{len}"
        );
    }
}

#[test]
fn a_packed_head_counts_only_with_packed_content_behind_it() {
    let heads: [&[u8]; 12] = [
        b"\x1f\x8b",
        b"\x28\xb5\x2f\xfd",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"%PDF-",
        b"PK\x03\x04",
        b"7z\xbc\xaf\x27\x1c",
        b"\xfd7zXZ\x00",
        b"BZh",
        b"....ftyp",
        b"\x1a\x45\xdf\xa3",
        b"RIFF....WEBP",
    ];
    // Bytes whose entropy reaches the limit behind the head, but not with zeros in front of them.
    let bytes: Vec<u8> = (0..=255).collect();
    for head in heads {
        let mut packed = head.to_vec();
        packed.resize(16, 0);
        packed.extend(&bytes[..184]);
        let mut unknown = packed.clone();
        unknown[..head.len()].fill(0);
        let mut text = head.to_vec();
        text.extend(make("lines", "a", 4000));
        assert_eq!(pick_codec(&packed), CodecKind::Passthrough, "{head:?}");
        assert_eq!(pick_codec(&unknown), CodecKind::CpuZstd, "{head:?}");
        assert_eq!(pick_codec(&text), CodecKind::CpuZstd, "{head:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_judged_by_the_plain_rule(head: prop::sample::Index, rest in data(6000)) {
        let heads: [&[u8]; 5] = [b"", b"\x1f\x8b", b"BZh", b"RIFF....WEBP", b"....ftyp"];
        let bytes = [heads[head.index(heads.len())], &rest].concat();
        let packed = pick_codec(&bytes) == CodecKind::Passthrough;
        prop_assert_eq!(packed, naive::looks_packed(&bytes));
    }
}
