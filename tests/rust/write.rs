//! Writing frames: chunks on any number of threads, padding of multipart parts.

use shardpack::{
    Error,
    checksum::crc32c,
    codec::CpuZstd,
    frame::{
        pick_chunk_size,
        write::{encode_frames, pad_part, pad_to_minimum, write_frame},
    },
    pool::{self, Cancel},
};

use crate::{
    naive,
    vectors::{self, codecs, make, number, rows},
};

const MIB: usize = 1 << 20;

#[test]
fn padding_has_the_recorded_lengths() {
    for row in rows(&vectors::json("s4/rule_vectors.json"), "padding") {
        let (length, minimum) = (
            number(&row, "length") as usize,
            number(&row, "minimum") as usize,
        );
        let mut framed = vec![1; length];
        pad_to_minimum(&mut framed, minimum).unwrap();
        assert_eq!(framed.len() as u64, number(&row, "padded_length"), "{row}");
        assert_eq!(framed.len(), naive::padded_len(length, minimum), "{row}");
        let field = framed
            .get(length + 4..length + 12)
            .map(|field| u64::from_le_bytes(field.try_into().unwrap()));
        assert_eq!(field, row["padding_len_field"].as_u64(), "{row}");
        assert!(
            framed.iter().skip(length + 12).all(|&byte| byte == 0),
            "{row}"
        );
    }
}

#[test]
fn every_length_is_padded_as_by_hand() {
    for length in 0..60 {
        for minimum in 0..80 {
            let mut framed = vec![1; length];
            pad_to_minimum(&mut framed, minimum).unwrap();
            assert_eq!(
                framed.len(),
                naive::padded_len(length, minimum),
                "{length} to {minimum}"
            );
        }
    }
}

#[test]
fn parts_are_padded_by_their_original_length() {
    let padded = |framed_len: usize, original_len, uniform| {
        let mut framed = vec![0; framed_len];
        pad_part(&mut framed, original_len, uniform).unwrap();
        framed.len()
    };
    for uniform in [false, true] {
        assert_eq!(padded(100, 5 * MIB - 1, uniform), 100, "the last part");
    }
    assert_eq!(padded(100, 5 * MIB, false), 5 * MIB);
    assert_eq!(padded(5 * MIB - 5, 5 * MIB, false), 5 * MIB + 7);
    assert_eq!(padded(6 * MIB, 8 * MIB, false), 6 * MIB);
    let target = 8 * MIB + 8 * MIB / 128 + 4096;
    assert_eq!(padded(100, 8 * MIB, true), target);
    assert_eq!(padded(target - 12, 8 * MIB, true), target);
    assert_eq!(padded(target - 11, 8 * MIB, true), target - 11);
    assert_eq!(
        padded(5 * MIB, 5 * MIB, true),
        5 * MIB + 5 * MIB / 128 + 4096
    );
}

#[test]
fn chunk_sizes_are_the_gateways() {
    let mib = MIB as u64;
    for (length, chunk) in [
        (0, mib),
        (mib, mib),
        (mib + 1, 4 * mib),
        (100 * mib, 4 * mib),
        (100 * mib + 1, 16 * mib),
        (u64::MAX, 16 * mib),
    ] {
        assert_eq!(pick_chunk_size(length), chunk, "{length}");
    }
}

#[test]
fn encoding_does_not_depend_on_the_number_of_threads() {
    let plain = make("lines", "a", 300_001);
    let cancel = Cancel::new();
    for codec in codecs() {
        let by_hand: Vec<_> = plain
            .chunks(50_000)
            .map(|chunk| write_frame(&*codec, chunk, &cancel).unwrap())
            .collect();
        for threads in 1..=4 {
            let encode = || encode_frames(&*codec, &plain, 50_000, &cancel).unwrap();
            let body = pool::install(Some(threads), encode).unwrap();
            assert!(body.frames == by_hand, "{codec:?} on {threads} threads");
            assert_eq!(body.original_lens, [[50_000; 6].as_slice(), &[1]].concat());
            assert_eq!(body.crc32c, crc32c(&plain, 0));
            assert_eq!(body.stored_len(), by_hand.concat().len());
        }
    }
}

#[test]
fn nothing_has_no_frames_and_no_chunks_of_nothing() {
    let (zstd, cancel) = (CpuZstd::new(3, false), Cancel::new());
    let body = encode_frames(&zstd, b"", 10, &cancel).unwrap();
    assert_eq!(
        (body.frames.len(), body.crc32c, body.stored_len()),
        (0, 0, 0)
    );
    let refused = encode_frames(&zstd, b"data", 0, &cancel);
    assert!(matches!(refused, Err(Error::Argument(_))), "{refused:?}");
    assert_eq!(
        encode_frames(&zstd, b"data", usize::MAX, &cancel)
            .unwrap()
            .frames
            .len(),
        1
    );
}
