//! Dictionaries: what they are called, what they gain, how they are trained and refused.

use shardpack::{
    Error,
    codec::{
        Codec, CodecKind, CpuZstd,
        dict::{dict_id, is_dict_id, train},
    },
    pool::Cancel,
};

use crate::vectors::{DICTIONARY, claim_of, compress, decompress, make, read};

fn with(bytes: &[u8], level: i32, content_size: bool) -> CpuZstd {
    CpuZstd::new_with_dictionary(bytes, level, content_size).unwrap()
}

fn trained() -> Vec<u8> {
    let events = make("events", "a", 200_000);
    let samples: Vec<&[u8]> = events.split_inclusive(|&byte| byte == b'\n').collect();
    let lens: Vec<usize> = samples.iter().map(|sample| sample.len()).collect();
    train(&events, &lens, 2000).unwrap()
}

#[test]
fn the_id_is_the_front_of_the_sha_256() {
    assert_eq!(dict_id(&read(DICTIONARY)), "2146108d12676334");
    assert_eq!(dict_id(b""), "e3b0c44298fc1c14");
    assert_eq!(
        with(&read(DICTIONARY), 3, false).dictionary().unwrap().id(),
        "2146108d12676334"
    );
}

#[test]
fn only_sixteen_lower_case_digits_are_an_id() {
    assert!(is_dict_id("2146108d12676334"));
    for text in [
        "",
        "2146108d1267633",
        "2146108d126763344",
        "2146108D12676334",
        "2146108g12676334",
        "../../../../../x",
        "２146108d126763",
    ] {
        assert!(!is_dict_id(text), "{text}");
    }
}

#[test]
fn an_empty_dictionary_is_refused_at_once() {
    let refused = CpuZstd::new_with_dictionary(b"", 3, false);
    assert!(matches!(refused, Err(Error::Backend(_))), "{refused:?}");
}

#[test]
fn a_damaged_trained_dictionary_is_refused_at_the_first_use() {
    let codec = with(b"\x37\xa4\x30\xec junk and no tables", 3, false);
    let mut room = [0; 200];
    let refused = codec.compress_into(b"data", &mut room, &Cancel::new());
    assert!(matches!(refused, Err(Error::Decode { .. })), "{refused:?}");
    let payload = compress(&CpuZstd::new(3, false), b"data");
    let refused = decompress(&codec, &payload, claim_of(b"data"));
    assert!(matches!(refused, Err(Error::Decode { .. })), "{refused:?}");
    let stream = codec.compressor().and_then(|mut compressor| {
        compressor.compress(b"data", &mut Vec::new())?;
        compressor.finish(&mut Vec::new())
    });
    assert!(matches!(stream, Err(Error::Decode { .. })), "{stream:?}");
    let stream = codec
        .decompressor()
        .and_then(|mut decompressor| decompressor.decompress(&payload, &mut Vec::new(), 100));
    assert!(matches!(stream, Err(Error::Decode { .. })), "{stream:?}");
}

#[test]
fn dictionaries_of_every_kind_round_trip_and_gain() {
    let record = make("events", "a", 400);
    let without = compress(&CpuZstd::new(3, false), &record).len();
    for bytes in [trained(), make("events", "a", 3000)] {
        for (level, content_size) in [(1, false), (3, true), (9, false), (19, true)] {
            let codec = with(&bytes, level, content_size);
            assert_eq!(codec.kind(), CodecKind::CpuZstdDict);
            assert_eq!(codec.level(), level);
            let payload = compress(&codec, &record);
            assert!(payload.len() < without);
            assert_eq!(
                decompress(&codec, &payload, claim_of(&record)).unwrap(),
                record
            );
        }
    }
    for bytes in [&b"1234"[..], b"x", &[0; 100]] {
        let codec = with(bytes, 3, false);
        let payload = compress(&codec, &record);
        assert_eq!(
            decompress(&codec, &payload, claim_of(&record)).unwrap(),
            record
        );
    }
}

#[test]
fn a_codec_without_its_dictionary_keeps_its_other_settings() {
    let codec = with(&trained(), 9, true).with_checksum(true);
    let plain = codec.without_dictionary();
    assert_eq!(plain.kind(), CodecKind::CpuZstd);
    assert_eq!(
        (plain.level(), plain.content_size(), plain.checksum()),
        (9, true, true)
    );
    let expected = CpuZstd::new(9, true).with_checksum(true);
    assert_eq!(compress(&plain, b"data"), compress(&expected, b"data"));
}

#[test]
fn a_trained_dictionary_is_named_in_the_frame() {
    let bytes = trained();
    assert_eq!(bytes[..4], [0x37, 0xa4, 0x30, 0xec]);
    let payload = compress(&with(&bytes, 3, false), b"data");
    assert_eq!(payload[4], 3);
    assert_eq!(payload[6..10], bytes[4..8]);
}

#[test]
fn plain_frames_decode_with_a_dictionary_at_hand_but_not_the_other_way_round() {
    let record = make("events", "a", 400);
    let bytes = trained();
    let (codec, plain) = (with(&bytes, 3, false), CpuZstd::new(3, false));
    let payload = compress(&plain, &record);
    assert_eq!(
        decompress(&codec, &payload, claim_of(&record)).unwrap(),
        record
    );
    let refused = decompress(&plain, &compress(&codec, &record), claim_of(&record));
    assert!(matches!(refused, Err(Error::Decode { .. })), "{refused:?}");
}

#[test]
fn another_dictionary_never_gives_other_bytes() {
    let record = make("events", "a", 400);
    let payload = compress(&with(&make("events", "a", 3000), 3, false), &record);
    for other in [
        make("noise", "b", 3000),
        make("events", "b", 3000),
        trained(),
        b"x".to_vec(),
    ] {
        let result = decompress(&with(&other, 3, false), &payload, claim_of(&record));
        assert!(result.is_err(), "{result:?}");
    }
}

#[test]
fn what_cannot_be_trained_is_refused() {
    let samples = make("events", "a", 9000);
    let cases: [(&[usize], usize); 7] = [
        (&[9000], 255),
        (&[9000], (1 << 28) + 1),
        (&[9000], 300),
        (&[], 300),
        (&[8999], 300),
        (&[9000, 1], 300),
        (&[usize::MAX, 9001], 300),
    ];
    for (lens, size) in cases {
        let refused = train(&samples, lens, size);
        assert!(
            matches!(refused, Err(Error::Argument(_))),
            "{lens:?} {size}"
        );
    }
    assert!(matches!(train(b"", &[0; 20], 300), Err(Error::Argument(_))));
}
