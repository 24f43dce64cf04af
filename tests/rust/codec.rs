//! Payloads: the recorded bytes, round trips, claims, buffers, cancellation.

use std::{
    io::{Read as _, Write as _},
    thread,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use shardpack::{
    Error,
    codec::{
        Claim, Codec, CodecKind, CpuGzip, CpuZstd, MAX_ORIGINAL_SIZE, Passthrough,
        decompress_claimed, output_len,
    },
    pool::Cancel,
};

use crate::vectors::{
    claim_of, class_of, codec_of, codecs, compress, data, decompress, hex, input, json, make,
    number, packing_codecs, rows, sha256, text, unhex,
};

#[test]
fn ids_and_names_are_the_frozen_ones() {
    let table = [
        "passthrough",
        "cpu-zstd",
        "nvcomp-zstd",
        "nvcomp-bitcomp",
        "nvcomp-gans",
        "dietgpu-ans",
        "nvcomp-gdeflate",
        "cpu-gzip",
        "cpu-zstd-dict",
    ];
    for (id, name) in (0..).zip(table) {
        let kind = CodecKind::from_id(id).unwrap();
        assert_eq!((kind.id(), kind.name()), (id, name));
        assert_eq!(CodecKind::from_name(name), Some(kind));
        assert_eq!(CodecKind::from_name(&name.to_uppercase()), None);
    }
    for id in [9, 256, u32::MAX] {
        assert_eq!(CodecKind::from_id(id), None);
    }
    for name in ["", "cpu-zstd ", "zstd"] {
        assert_eq!(CodecKind::from_name(name), None);
    }
}

#[test]
fn levels_are_clamped() {
    for (given, used) in [
        (i32::MIN, 1),
        (0, 1),
        (1, 1),
        (22, 22),
        (23, 22),
        (i32::MAX, 22),
    ] {
        assert_eq!(CpuZstd::new(given, false).level(), used);
    }
    for (given, used) in [(0, 0), (9, 9), (10, 9), (u32::MAX, 9)] {
        assert_eq!(CpuGzip::new(given).level(), used);
    }
}

#[test]
fn recorded_payloads_are_written_again() {
    let file = json("s4/codec_vectors.json");
    for row in rows(&file, "vectors") {
        let plain = input(&row["input"]);
        let claim = Claim {
            original_size: number(&row, "original_size"),
            crc32c: number(&row, "crc32c") as u32,
        };
        assert_eq!(claim_of(&plain), claim, "{row}");
        let codec = codec_of(&row);
        let payload = compress(&*codec, &plain);
        assert_eq!(
            decompress(&*codec, &payload, claim).unwrap(),
            plain,
            "{row}"
        );
        let recorded = row["payload_hex"].as_str().map(unhex);
        if codec.kind() == CodecKind::CpuGzip {
            // Any deflate stream will do; the header, the trailer and the content are fixed.
            if let Some(recorded) = recorded {
                let end = recorded.len() - 8;
                assert_eq!(payload[..10], recorded[..10], "{row}");
                assert_eq!(payload[payload.len() - 8..], recorded[end..], "{row}");
                assert_eq!(
                    decompress(&*codec, &recorded, claim).unwrap(),
                    plain,
                    "{row}"
                );
            }
        } else {
            assert_eq!(sha256(&payload), text(&row, "payload_sha256"), "{row}");
            assert_eq!(payload.len() as u64, number(&row, "payload_size"), "{row}");
            assert!(recorded.is_none_or(|recorded| recorded == payload), "{row}");
        }
    }
}

#[test]
fn zstd_headers_are_the_bare_ones_with_the_window_of_the_level() {
    let logs = [
        (1, 19),
        (2, 20),
        (3, 21),
        (8, 21),
        (9, 22),
        (16, 22),
        (17, 23),
        (19, 23),
        (20, 25),
    ];
    for (level, log) in logs {
        let payload = compress(&CpuZstd::new(level, false), b"a");
        let header = [0x28, 0xb5, 0x2f, 0xfd, 0, (log - 10) << 3];
        assert_eq!(payload[..6], header, "level {level}");
    }
    let checked = compress(&CpuZstd::new(3, false).with_checksum(true), b"a");
    assert_eq!(checked[..6], [0x28, 0xb5, 0x2f, 0xfd, 4, 0x58]);
    assert_eq!(
        checked.len(),
        compress(&CpuZstd::new(3, false), b"a").len() + 4
    );
    let sized = compress(&CpuZstd::new(3, true), &[7; 1000]);
    assert_eq!(
        zstd_safe::get_frame_content_size(&sized).unwrap(),
        Some(1000)
    );
}

#[test]
fn gzip_headers_carry_no_name_no_time_and_the_effort() {
    for level in 0..=9 {
        let effort = match level {
            0 | 1 => 4,
            9 => 2,
            _ => 0,
        };
        let header = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, effort, 0xff];
        assert_eq!(
            compress(&CpuGzip::new(level), b"a")[..10],
            header,
            "level {level}"
        );
    }
    let empty = compress(&CpuGzip::new(6), b"");
    assert_eq!(hex(&empty), "1f8b08000000000000ff03000000000000000000");
}

#[test]
fn other_programs_read_what_is_written_and_the_other_way_round() {
    for plain in [
        Vec::new(),
        make("lines", "a", 70_000),
        make("noise", "a", 5000),
    ] {
        let mut read = Vec::new();
        let gzip = CpuGzip::new(6);
        flate2::read::GzDecoder::new(compress(&gzip, &plain).as_slice())
            .read_to_end(&mut read)
            .unwrap();
        assert_eq!(read, plain);
        let mut writer = flate2::GzBuilder::new()
            .filename("name")
            .comment("comment")
            .extra([1, 2, 1, 0, 9])
            .write(Vec::new(), flate2::Compression::best());
        writer.write_all(&plain).unwrap();
        let member = writer.finish().unwrap();
        assert_eq!(decompress(&gzip, &member, claim_of(&plain)).unwrap(), plain);

        for zstd in [CpuZstd::new(3, false), CpuZstd::new(3, true)] {
            let mut read = vec![0; plain.len()];
            let len = zstd_safe::decompress(read.as_mut_slice(), &compress(&zstd, &plain)).unwrap();
            assert_eq!(read[..len], plain);
            let mut frame = vec![0; zstd_safe::compress_bound(plain.len())];
            let len = zstd_safe::compress(frame.as_mut_slice(), &plain, 7).unwrap();
            assert_eq!(
                decompress(&zstd, &frame[..len], claim_of(&plain)).unwrap(),
                plain
            );
        }
    }
}

#[test]
fn recorded_claims_have_their_recorded_outcome() {
    let file = json("s4/decompress_vectors.json");
    for row in rows(&file, "vectors") {
        let claim = Claim {
            original_size: number(&row, "original_size"),
            crc32c: number(&row, "crc32c") as u32,
        };
        let payload = unhex(text(&row, "payload_hex"));
        let name = text(&row, "name");
        let result = &row["result"];
        match decompress(&*codec_of(&row), &payload, claim) {
            Ok(plain) => {
                assert_eq!(
                    Some(sha256(&plain).as_str()),
                    result["ok_sha256"].as_str(),
                    "{name}"
                );
            }
            Err(error) => {
                assert_eq!(
                    Some(class_of(&error)),
                    result["error"]["class"].as_str(),
                    "{name}: {error}"
                );
            }
        }
    }
}

#[test]
fn claims_are_checked_in_the_agreed_order() {
    let plain = make("lines", "a", 3000);
    let Claim {
        original_size,
        crc32c,
    } = claim_of(&plain);
    for codec in packing_codecs() {
        let payload = compress(&*codec, &plain);
        let outcome = |payload: &[u8], original_size, crc32c| {
            let claim = Claim {
                original_size,
                crc32c,
            };
            decompress(&*codec, payload, claim)
        };
        let limit = MAX_ORIGINAL_SIZE;
        let name = codec.kind().name();
        assert_eq!(outcome(&payload, 3000, crc32c).unwrap(), plain);
        // A size above the limit is refused before the payload is looked at.
        assert_eq!(
            outcome(b"junk", limit + 1, 0),
            Err(Error::ClaimExceedsLimit {
                requested: limit + 1,
                limit
            })
        );
        let at_limit = outcome(b"junk", limit, 0);
        assert!(
            matches!(at_limit, Err(Error::Decode { .. })),
            "{codec:?} {at_limit:?}"
        );
        // A damaged payload wins over sizes, sizes win over the checksum.
        let cut = outcome(&payload[..payload.len() - 1], 2999, 0);
        assert!(
            matches!(cut, Err(Error::Decode { .. } | Error::Bomb { .. })),
            "{codec:?} {cut:?}"
        );
        for crc in [crc32c, crc32c ^ 1] {
            for claimed in [0, 1, 1000, 2999] {
                let expected = Error::Bomb {
                    codec: name,
                    claimed,
                };
                assert_eq!(outcome(&payload, claimed, crc), Err(expected), "{codec:?}");
            }
            for expected in [3001, 100_000, limit] {
                let mismatch = Error::SizeMismatch {
                    expected,
                    actual: original_size,
                };
                assert_eq!(outcome(&payload, expected, crc), Err(mismatch), "{codec:?}");
            }
        }
        let expected = Error::CrcMismatch {
            expected: crc32c ^ 1,
            actual: crc32c,
        };
        assert_eq!(
            outcome(&payload, 3000, crc32c ^ 1),
            Err(expected),
            "{codec:?}"
        );
    }
}

#[test]
fn the_limit_is_the_callers() {
    let payload = compress(&CpuZstd::new(3, false), &[1; 50]);
    let claim = claim_of(&[1; 50]);
    assert_eq!(
        output_len(&CpuZstd::new(3, false), &payload, claim, 50),
        Ok(50)
    );
    let refused = output_len(&CpuZstd::new(3, false), &payload, claim, 49);
    assert_eq!(
        refused,
        Err(Error::ClaimExceedsLimit {
            requested: 50,
            limit: 49
        })
    );
}

#[test]
fn a_claim_reserves_no_more_than_the_payload_can_hold() {
    for codec in codecs() {
        let payload = compress(&*codec, b"hello");
        let claim = Claim {
            original_size: MAX_ORIGINAL_SIZE,
            crc32c: 0,
        };
        let len = output_len(&*codec, &payload, claim, MAX_ORIGINAL_SIZE).unwrap();
        assert!(len < 200_000, "{codec:?} reserves {len}");
    }
}

#[test]
fn zstd_reads_several_frames_and_gzip_the_first_member_only() {
    let (a, b) = (make("lines", "a", 700), make("noise", "b", 900));
    let both = [a.clone(), b.clone()].concat();
    for content_size in [false, true] {
        let zstd = CpuZstd::new(3, content_size);
        let skippable = b"\x5f\x2a\x4d\x18\x03\x00\x00\x00abc".to_vec();
        let joined = [
            skippable.clone(),
            compress(&zstd, &a),
            skippable.clone(),
            compress(&zstd, &b),
            skippable.clone(),
        ];
        assert_eq!(
            decompress(&zstd, &joined.concat(), claim_of(&both)).unwrap(),
            both
        );
        assert_eq!(decompress(&zstd, &skippable, claim_of(b"")).unwrap(), b"");
    }
    let gzip = CpuGzip::new(6);
    let joined = [compress(&gzip, &a), compress(&gzip, &b)].concat();
    assert_eq!(decompress(&gzip, &joined, claim_of(&a)).unwrap(), a);
    let expected = Error::SizeMismatch {
        expected: 1600,
        actual: 700,
    };
    assert_eq!(decompress(&gzip, &joined, claim_of(&both)), Err(expected));
}

#[test]
fn a_cut_payload_is_refused_at_every_byte() {
    let plain = make("lines", "a", 400);
    for codec in packing_codecs() {
        let payload = compress(&*codec, &plain);
        for cut in 0..payload.len() {
            let result = decompress(&*codec, &payload[..cut], claim_of(&plain));
            // libdeflate reads zeros behind the end, which can mean more data than there is room for.
            let more =
                codec.kind() == CodecKind::CpuGzip && matches!(result, Err(Error::Bomb { .. }));
            let refused = more || matches!(result, Err(Error::Decode { .. }));
            assert!(refused, "{codec:?} cut to {cut}: {result:?}");
        }
    }
}

#[test]
fn a_flipped_bit_gives_the_plain_bytes_or_an_error() {
    let plain = make("lines", "a", 200);
    for codec in codecs() {
        let payload = compress(&*codec, &plain);
        for bit in 0..8 * payload.len() {
            let mut damaged = payload.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let result = decompress(&*codec, &damaged, claim_of(&plain));
            assert!(
                result.as_ref().map_or(true, |bytes| *bytes == plain),
                "{codec:?} bit {bit}"
            );
        }
    }
}

#[test]
fn a_buffer_of_the_bound_is_always_large_enough_and_a_smaller_one_is_refused_or_filled() {
    let cancel = Cancel::new();
    for plain in [
        Vec::new(),
        vec![0; 300],
        make("lines", "a", 300),
        make("noise", "a", 300),
    ] {
        for codec in codecs() {
            let payload = compress(&*codec, &plain);
            assert!(payload.len() <= codec.compress_bound(plain.len()));
            for capacity in 0..payload.len() + 40 {
                let mut room = vec![0xAA; capacity];
                match codec.compress_into(&plain, &mut room, &cancel) {
                    Ok(len) => {
                        let claim = claim_of(&plain);
                        assert_eq!(decompress(&*codec, &room[..len], claim).unwrap(), plain);
                    }
                    Err(Error::DestinationTooSmall {
                        capacity: stated,
                        needed,
                    }) => {
                        assert_eq!(stated, capacity as u64, "{codec:?}");
                        assert!(needed > stated, "{codec:?}");
                        assert!(
                            needed <= codec.compress_bound(plain.len()) as u64,
                            "{codec:?}"
                        );
                    }
                    Err(error) => panic!("{codec:?} into {capacity} bytes: {error}"),
                }
            }
            // A refusal leaves nothing behind in the context that is kept for the next call.
            assert_eq!(compress(&*codec, &plain), payload, "{codec:?}");
        }
    }
}

#[test]
fn s4s_zstd_and_passthrough_fill_an_exact_buffer_to_the_last_byte() {
    let cancel = Cancel::new();
    for plain in [
        Vec::new(),
        make("lines", "a", 70_000),
        make("noise", "a", 70_000),
    ] {
        let exact: [&dyn Codec; 2] = [&CpuZstd::new(3, false), &Passthrough];
        for codec in exact {
            let payload = compress(codec, &plain);
            let mut room = vec![0xAA; payload.len()];
            assert_eq!(
                codec.compress_into(&plain, &mut room, &cancel),
                Ok(room.len())
            );
            assert_eq!(room, payload);
            for short in [1, room.len() / 2, room.len()] {
                let mut room = vec![0; payload.len().saturating_sub(short)];
                let result = codec.compress_into(&plain, &mut room, &cancel);
                let refused = matches!(result, Err(Error::DestinationTooSmall { .. }));
                assert!(refused || payload.is_empty(), "{codec:?} {result:?}");
            }
        }
    }
}

#[test]
fn decoding_stays_inside_the_buffer() {
    let cancel = Cancel::new();
    let plain = make("lines", "a", 5000);
    for codec in packing_codecs() {
        let payload = compress(&*codec, &plain);
        for len in [0, 1, 4999] {
            let result = codec.decompress_into(&payload, &mut vec![0; len], &cancel);
            let expected = Error::Bomb {
                codec: codec.kind().name(),
                claimed: len as u64,
            };
            assert_eq!(result, Err(expected), "{codec:?}");
        }
        let mut larger = vec![0xAA; 6000];
        assert_eq!(
            codec.decompress_into(&payload, &mut larger, &cancel),
            Ok(5000)
        );
        assert_eq!(larger[..5000], plain);
    }
}

#[test]
fn a_cancelled_call_does_not_start() {
    let cancel = Cancel::new();
    cancel.cancel();
    let plain = make("lines", "a", 5000);
    let codecs: [&dyn Codec; 2] = [&CpuZstd::new(3, false), &CpuGzip::new(6)];
    for codec in codecs {
        let payload = compress(codec, &plain);
        let mut room = vec![0; 10_000];
        assert_eq!(
            codec.compress_into(&plain, &mut room, &cancel),
            Err(Error::Interrupted)
        );
        assert_eq!(
            codec.decompress_into(&payload, &mut room, &cancel),
            Err(Error::Interrupted)
        );
        let claim = claim_of(&plain);
        let result = decompress_claimed(codec, &payload, claim, &mut room, &cancel);
        assert_eq!(result, Err(Error::Interrupted));
    }
}

#[test]
fn a_long_compression_stops_soon_after_it_is_cancelled() {
    let plain = make("noise", "a", 1 << 20).repeat(24);
    let codec = CpuZstd::new(19, false);
    let mut room = vec![0; codec.compress_bound(plain.len())];
    let cancel = Cancel::new();
    let start = Instant::now();
    let result = thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(100));
            cancel.cancel();
        });
        codec.compress_into(&plain, &mut room, &cancel)
    });
    assert_eq!(result, Err(Error::Interrupted));
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(
        decompress(&codec, &compress(&codec, b"next"), claim_of(b"next")).unwrap(),
        b"next"
    );
}

#[test]
fn a_long_decompression_stops_soon_after_it_is_cancelled() {
    let plain = make("noise", "a", 1 << 20).repeat(80);
    let codec = CpuZstd::new(1, false);
    let payload = compress(&codec, &plain);
    let mut room = vec![0; plain.len()];
    // On a busy machine the decoder may win the race; not every time.
    let stopped = (0..20).any(|_| {
        room[..1000].fill(0);
        let cancel = Cancel::new();
        let result = thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(3));
                cancel.cancel();
            });
            codec.decompress_into(&payload, &mut room, &cancel)
        });
        result == Err(Error::Interrupted) && room[..1000] == plain[..1000]
    });
    assert!(stopped);
    let decoded = decompress(&codec, &payload, claim_of(&plain));
    assert!(decoded.unwrap() == plain, "after it was stopped");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_codec_gives_back_what_it_was_given(plain in data(40_000)) {
        for codec in codecs() {
            let payload = compress(&*codec, &plain);
            prop_assert_eq!(decompress(&*codec, &payload, claim_of(&plain)).unwrap(), &plain[..]);
            prop_assert!(codec.decompress_bound(&payload).unwrap() >= plain.len() as u64);
        }
    }

    #[test]
    fn noise_is_refused_or_decoded_but_never_panics(
        noise in prop::collection::vec(any::<u8>(), 0..300), size in 0..2000_u64,
    ) {
        let heads: [&[u8]; 5] = [b"", b"\x28\xb5\x2f\xfd", b"\x28\xb5\x2f\xfd\x00\x58", b"\x1f\x8b\x08", b"\x1f\x8b\x08\0\0\0\0\0\0\xff"];
        for codec in packing_codecs() {
            for head in heads {
                let payload = [head, &noise].concat();
                let claim = Claim { original_size: size, crc32c: 0 };
                prop_assert!(decompress(&*codec, &payload, claim).map_or(true, |bytes| bytes.len() as u64 == size));
            }
        }
    }
}

#[test]
fn the_largest_levels_round_trip() {
    let plain = make("events", "a", 30_000);
    for level in [20, 21, 22] {
        let codec = CpuZstd::new(level, false);
        let payload = compress(&codec, &plain);
        assert_eq!(
            decompress(&codec, &payload, claim_of(&plain)).unwrap(),
            plain,
            "level {level}"
        );
    }
}
