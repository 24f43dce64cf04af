//! Frames and padding: recorded outcomes, the walk against its plain twin, threads, claims.

use proptest::prelude::*;
use serde_json::{Value, json};
use shardpack::{
    Error, Result,
    checksum::crc32c,
    codec::{Claim, Codec, CodecKind, CpuGzip, CpuZstd, MAX_ORIGINAL_SIZE, Passthrough},
    error::FrameError,
    frame::{
        FRAME_HEADER_LEN, FrameHeader,
        read::{self, Decoding, Frame, decode_frames, output_len, read_frame, read_frames},
        write::{encode_frames, write_frame},
    },
    pool::{self, Cancel},
};

use crate::{
    naive,
    vectors::{
        self, DICTIONARY, codecs, compress, data, decoding, hex, make, read, rows, text, unhex,
    },
};

fn header_json(header: FrameHeader) -> Value {
    json!({
        "codec": header.codec.name(),
        "original_size": header.original_size,
        "compressed_size": header.payload_size,
        "crc32c": header.crc32c,
    })
}

fn frame_json(frame: &Frame<'_>) -> Value {
    json!([header_json(frame.header), {"hex": hex(frame.payload)}])
}

/// A recorded outcome: a value, or any frame error.
fn assert_recorded(outcome: Result<Value, FrameError>, recorded: &Value, name: &str) {
    match outcome {
        Ok(value) => assert_eq!(value, recorded["ok"], "{name}"),
        Err(error) => assert_eq!(
            recorded["error"]["class"], "S4FrameError",
            "{name}: {error}"
        ),
    }
}

#[test]
fn recorded_strings_have_their_recorded_outcome() {
    for row in rows(&vectors::json("s4/parser_vectors.json"), "frames") {
        let (name, bytes) = (text(&row, "name"), unhex(text(&row, "bytes_hex")));
        let one = read_frame(&bytes).map(|(frame, rest)| {
            json!([header_json(frame.header), {"hex": hex(frame.payload)}, {"hex": hex(rest)}])
        });
        assert_recorded(one, &row["read_frame"], name);
        let all =
            read_frames(&bytes).map(|frames| Value::Array(frames.iter().map(frame_json).collect()));
        assert_recorded(all, &row["frame_iter"], name);
    }
}

fn header(codec: CodecKind, original_size: u64, payload_size: u64, crc32c: u32) -> Vec<u8> {
    FrameHeader {
        codec,
        original_size,
        payload_size,
        crc32c,
    }
    .to_bytes()
    .to_vec()
}

/// A frame with any claim around any payload.
fn claimed(codec: CodecKind, original_size: u64, crc32c: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(codec, original_size, payload.len() as u64, crc32c);
    frame.extend(payload);
    frame
}

fn padding(len: u64, filler: &[u8]) -> Vec<u8> {
    [b"S4P1", &len.to_le_bytes()[..], filler].concat()
}

#[test]
fn the_header_layout_is_the_documented_one() {
    let frame = write_frame(&CpuZstd::new(3, false), b"hello", &Cancel::new()).unwrap();
    let expected =
        "5334463201000000 0500000000000000 0e00000000000000 4cbb719a 28b52ffd0058290000 68656c6c6f";
    assert_eq!(hex(&frame), expected.replace(' ', ""));
    let (read, rest) = read_frame(&frame).unwrap();
    assert_eq!(read.header.to_bytes(), frame[..FRAME_HEADER_LEN]);
    assert_eq!((read.offset, read.stored_len(), rest), (0, 42, &b""[..]));
}

#[test]
fn the_checks_of_a_frame_come_in_the_agreed_order() {
    let good = header(CodecKind::CpuZstd, 9, 0, 0);
    let bad_codec_cut = [&b"S4F2\x09\0\0\0"[..], &[0; 8], &[0xFF; 12]].concat();
    let cases: [(&[u8], FrameError); 6] = [
        (b"BAD!", FrameError::TooShort { need: 28, have: 4 }),
        (&good[..27], FrameError::TooShort { need: 28, have: 27 }),
        (&[b'X'; 28], FrameError::BadMagic(*b"XXXX")),
        (&padding(16, &[0; 16]), FrameError::BadMagic(*b"S4P1")),
        (&bad_codec_cut, FrameError::UnknownCodec(9)),
        (
            &header(CodecKind::CpuGzip, 0, u64::MAX, 0),
            FrameError::PayloadTruncated {
                claimed: u64::MAX,
                have: 0,
            },
        ),
    ];
    for (bytes, expected) in cases {
        assert_eq!(read_frame(bytes).unwrap_err(), expected, "{bytes:?}");
    }
}

#[test]
fn the_checks_of_padding_say_what_is_missing() {
    let frame = claimed(CodecKind::Passthrough, 1, 0, b"x");
    let cases = [
        (
            b"S4P1\0\0".to_vec(),
            FrameError::TooShort { need: 12, have: 6 },
        ),
        (
            padding(4, &[0; 3]),
            FrameError::PaddingTruncated {
                claimed: 4,
                have: 3,
            },
        ),
        (
            padding(u64::MAX, b""),
            FrameError::PaddingTruncated {
                claimed: u64::MAX,
                have: 0,
            },
        ),
        (
            padding(u64::MAX - 11, &frame),
            FrameError::PaddingTruncated {
                claimed: u64::MAX - 11,
                have: 29,
            },
        ),
        (vec![0; 8], FrameError::TooShort { need: 28, have: 8 }),
        (vec![0; 28], FrameError::BadMagic([0; 4])),
    ];
    for (tail, expected) in cases {
        let body = [&frame[..], &tail].concat();
        assert_eq!(read_frames(&body).unwrap_err(), expected, "{tail:?}");
        let mut walk = read::Frames::new(&body);
        assert!(walk.next().unwrap().is_ok());
        assert_eq!(walk.next().unwrap().unwrap_err(), expected);
        assert!(walk.next().is_none(), "nothing follows an error");
    }
    let body = [
        padding(0, b""),
        padding(2, b"ab"),
        frame,
        padding(1, b"c"),
        padding(0, b""),
    ]
    .concat();
    let offsets: Vec<u64> = read_frames(&body)
        .unwrap()
        .iter()
        .map(|frame| frame.offset)
        .collect();
    assert_eq!(offsets, [26]);
    assert_eq!(read_frames(b"").unwrap().len(), 0);
}

/// Asks for the length, reserves it, decodes: what callers do.
fn decode_with(body: &[u8], decoding: Decoding<'_>) -> Result<Vec<u8>> {
    let frames = read_frames(body)?;
    let mut decoded = vec![0xAA; output_len(&frames, decoding)?];
    decode_frames(&frames, &mut decoded, decoding)?;
    Ok(decoded)
}

fn decode(body: &[u8]) -> Result<Vec<u8>> {
    decode_with(body, decoding())
}

#[test]
fn bodies_of_mixed_codecs_decode_alike_on_any_number_of_threads() {
    let dictionary = CpuZstd::new_with_dictionary(&read(DICTIONARY), 3, false).unwrap();
    let writers: [&dyn Codec; 4] = [
        &CpuZstd::new(1, false),
        &CpuGzip::new(6),
        &Passthrough,
        &dictionary,
    ];
    let plain = make("events", "a", 90_000);
    let mut body = padding(3, b"abc");
    for (number, chunk) in plain.chunks(7000).enumerate() {
        body.extend(write_frame(writers[number % 4], chunk, &Cancel::new()).unwrap());
        body.extend(padding(5, b"xxxxx"));
    }
    let decoding = Decoding {
        dictionary: Some(&dictionary),
        ..decoding()
    };
    assert!(decode_with(&body, decoding).unwrap() == plain);
    for threads in 1..=4 {
        let decoded = pool::install(Some(threads), || decode_with(&body, decoding)).unwrap();
        assert!(decoded.unwrap() == plain, "{threads} threads");
    }
    let frames = read_frames(&body).unwrap();
    assert_eq!(read::combined_crc32c(&frames), crc32c(&plain, 0));
    assert_eq!(read::total_original(&frames, decoding), Ok(90_000));
}

#[test]
fn of_several_damaged_frames_the_first_is_reported_on_any_number_of_threads() {
    let plain = make("lines", "a", 64_000);
    let mut frames = encode_frames(&Passthrough, &plain, 1000, &Cancel::new())
        .unwrap()
        .frames;
    for at in [61, 40, 20, 21] {
        frames[at][24] ^= at as u8;
    }
    let zstd = encode_frames(&CpuZstd::new(3, false), &plain, 1000, &Cancel::new()).unwrap();
    let mut packed = zstd.frames;
    for at in [61, 40, 20, 21] {
        packed[at][24] ^= at as u8;
    }
    for body in [frames.concat(), packed.concat()] {
        let alone = decode(&body);
        let actual = crc32c(&plain[20_000..21_000], 0);
        assert_eq!(
            alone,
            Err(Error::CrcMismatch {
                expected: actual ^ 0x14,
                actual
            })
        );
        for threads in 1..=4 {
            assert_eq!(
                pool::install(Some(threads), || decode(&body)).unwrap(),
                alone
            );
        }
    }
}

#[test]
fn claims_of_passthrough_frames_are_checked_checksum_first() {
    let plain = b"some bytes";
    let right = crc32c(plain, 0);
    let frame = |size, crc| claimed(CodecKind::Passthrough, size, crc, plain);
    let wrong_crc = Err(Error::CrcMismatch {
        expected: right ^ 1,
        actual: right,
    });
    assert_eq!(decode(&frame(10, right)).unwrap(), plain);
    assert_eq!(decode(&frame(10, right ^ 1)), wrong_crc);
    assert_eq!(decode(&frame(11, right ^ 1)), wrong_crc);
    for expected in [0, 9, 11, 5_000_000_000] {
        assert_eq!(
            decode(&frame(expected, right)),
            Err(Error::SizeMismatch {
                expected,
                actual: 10
            })
        );
    }
}

#[test]
fn the_limit_holds_for_each_frame_and_for_all_together() {
    let frame = write_frame(&CpuZstd::new(3, false), &[7; 60], &Cancel::new()).unwrap();
    let limited = |count, limit| {
        decode_with(
            &frame.repeat(count),
            Decoding {
                limit,
                ..decoding()
            },
        )
    };
    assert_eq!(limited(2, 120).unwrap(), [7; 120]);
    assert_eq!(
        limited(2, 119),
        Err(Error::ClaimExceedsLimit {
            requested: 120,
            limit: 119
        })
    );
    assert_eq!(
        limited(1, 59),
        Err(Error::ClaimExceedsLimit {
            requested: 60,
            limit: 59
        })
    );
    let huge = claimed(CodecKind::CpuZstd, u64::MAX, 0, &frame[28..]);
    let expected = Error::ClaimExceedsLimit {
        requested: u64::MAX,
        limit: MAX_ORIGINAL_SIZE,
    };
    assert_eq!(decode(&[&frame[..], &huge].concat()), Err(expected.clone()));
    assert_eq!(decode(&huge.repeat(2)), Err(expected));
}

#[test]
fn a_claim_that_the_payload_cannot_hold_fails_before_memory_is_reserved() {
    let zstd = CpuZstd::new(3, false);
    let payload = compress(&zstd, &[7; 60]);
    let frame = claimed(CodecKind::CpuZstd, 4 << 30, 0, &payload);
    let frames = read_frames(&frame).unwrap();
    let expected = Error::SizeMismatch {
        expected: 4 << 30,
        actual: 60,
    };
    assert_eq!(output_len(&frames, decoding()), Err(expected));
    let junk = claimed(CodecKind::CpuZstd, 4 << 30, 0, b"junk");
    let refused = output_len(&read_frames(&junk).unwrap(), decoding());
    assert!(matches!(refused, Err(Error::Decode { .. })), "{refused:?}");
}

#[test]
fn a_destination_that_is_too_short_is_refused() {
    let frame = write_frame(&CpuZstd::new(3, false), &[7; 60], &Cancel::new()).unwrap();
    let refused = decode_frames(&read_frames(&frame).unwrap(), &mut [0; 59], decoding());
    assert!(matches!(refused, Err(Error::Argument(_))), "{refused:?}");
}

#[test]
fn codecs_that_cannot_be_read_are_named() {
    for codec in [
        CodecKind::NvcompBitcomp,
        CodecKind::NvcompGans,
        CodecKind::DietgpuAns,
    ] {
        let refused = decode(&claimed(codec, 4, 0, b"data"));
        assert_eq!(refused, Err(Error::UnsupportedCodec { codec }));
        assert!(refused.unwrap_err().to_string().starts_with(codec.name()));
    }
    let frame = claimed(CodecKind::CpuZstdDict, 4, 0, b"data");
    let named = Decoding {
        dict_id: Some("2146108d12676334"),
        ..decoding()
    };
    for (decoding, name) in [(decoding(), "?"), (named, "2146108d12676334")] {
        match decode_with(&frame, decoding) {
            Err(Error::Dictionary { id, .. }) => assert_eq!(id, name),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_cancelled_call_does_not_start() {
    let cancel = Cancel::new();
    cancel.cancel();
    let decoding = Decoding {
        cancel: &cancel,
        ..decoding()
    };
    for codec in codecs() {
        let refused = encode_frames(&*codec, b"some data", 4, &cancel).map(|body| body.frames);
        assert_eq!(refused, Err(Error::Interrupted), "{codec:?}");
        let body = write_frame(&*codec, b"data", &Cancel::new()).unwrap();
        let frames = read_frames(&body).unwrap();
        assert_eq!(
            decode_frames(&frames, &mut [0; 4], decoding),
            Err(Error::Interrupted),
            "{codec:?}"
        );
    }
}

/// A piece of a body, sound or not.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let payload = || prop::collection::vec(any::<u8>(), 0..30);
    prop_oneof![
        6 => (0..9_u32, any::<u64>(), any::<u32>(), payload()).prop_map(|(codec, original, crc, payload)| {
            claimed(CodecKind::from_id(codec).unwrap(), original, crc, &payload)
        }),
        4 => payload().prop_map(|filler| padding(filler.len() as u64, &filler)),
        1 => (0..20_u32, 0..40_u64, payload()).prop_map(|(codec, len, payload)| {
            let mut frame = header(CodecKind::Passthrough, 1, len, 0);
            frame[4..8].copy_from_slice(&codec.to_le_bytes());
            frame.extend(payload);
            frame
        }),
        1 => (0..40_u64, payload()).prop_map(|(len, filler)| padding(len, &filler)),
        1 => payload(),
    ]
}

fn stop(error: FrameError) -> naive::Stop {
    match error {
        FrameError::TooShort { .. } => naive::Stop::HeaderCut,
        FrameError::BadMagic(_) => naive::Stop::Magic,
        FrameError::UnknownCodec(_) => naive::Stop::Codec,
        FrameError::PayloadTruncated { .. } => naive::Stop::PayloadCut,
        FrameError::PaddingTruncated { .. } => naive::Stop::PaddingCut,
        other => panic!("{other:?} is no way to stop"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_body_is_walked_as_by_hand(
        pieces in prop::collection::vec(piece(), 0..6),
        cut in prop::option::weighted(0.3, any::<prop::sample::Index>()),
        change in prop::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let mut body = pieces.concat();
        if let Some(cut) = cut {
            body.truncate(cut.index(body.len() + 1));
        }
        if let (Some((place, byte)), false) = (change, body.is_empty()) {
            let place = place.index(body.len());
            body[place] = byte;
        }
        let walked = read_frames(&body).map_err(stop).map(|frames| {
            let plain = |frame: &Frame<'_>| naive::Frame {
                offset: frame.offset,
                codec: u64::from(frame.header.codec.id()),
                original: frame.header.original_size,
                crc: u64::from(frame.header.crc32c),
                payload: frame.payload.to_vec(),
            };
            frames.iter().map(plain).collect::<Vec<_>>()
        });
        prop_assert_eq!(walked, naive::walk(&body));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_data_in_any_chunks_come_back(plain in data(20_000), chunk in 1..9000_usize, threads in 1..4_usize) {
        for codec in [&CpuZstd::new(3, false) as &dyn Codec, &CpuGzip::new(1), &Passthrough] {
            let encode = || encode_frames(codec, &plain, chunk, &Cancel::new()).unwrap();
            let body = pool::install(Some(threads), encode).unwrap();
            prop_assert_eq!(body.frames.len(), plain.len().div_ceil(chunk));
            prop_assert_eq!(body.crc32c, crc32c(&plain, 0));
            let joined = body.frames.concat();
            let decoded = pool::install(Some(threads), || decode(&joined)).unwrap();
            prop_assert_eq!(decoded.unwrap(), &plain[..]);
        }
    }

    #[test]
    fn changed_bodies_never_panic_nor_decode_to_something_else(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let plain = make("lines", "a", 600);
        let mut body: Vec<u8> = [&CpuZstd::new(3, false) as &dyn Codec, &CpuGzip::new(6), &Passthrough]
            .into_iter()
            .flat_map(|codec| write_frame(codec, &plain, &Cancel::new()).unwrap())
            .collect();
        for (place, byte) in changes {
            let place = place.index(body.len());
            body[place] = byte;
        }
        if let Ok(decoded) = decode(&body) {
            // A frame may have become padding or another codec's; its bytes are right all the same.
            prop_assert!(decoded.chunks(600).all(|part| part == plain));
        }
    }

    #[test]
    fn any_claim_around_any_payload_is_kept_or_refused(
        codec in 0..9_u32, size in 0..500_u64, payload in data(400),
    ) {
        let codec = CodecKind::from_id(codec).unwrap();
        let claim = Claim { original_size: size, crc32c: crc32c(&payload, 0) };
        let frame = claimed(codec, claim.original_size, claim.crc32c, &payload);
        if let Ok(decoded) = decode(&frame) {
            prop_assert_eq!(decoded.len() as u64, size);
            prop_assert_eq!(crc32c(&decoded, 0), claim.crc32c);
        }
    }
}
