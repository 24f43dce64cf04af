//! The container of GPU payloads: sound, damaged and absurd ones.

#![allow(clippy::expect_used)]

use std::{fmt::Write as _, fs};

use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use shardpack::{
    Error,
    codec::CodecKind,
    gpu::fcg1::{Algorithm, Container, build, decompress_into},
    pool::Cancel,
};

const HEADER_LEN: usize = 24;

fn object(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/s4");
    fs::read(format!("{folder}/{name}")).expect("vector")
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("text");
            text
        })
}

/// A container of zstd frames and the bytes it holds; every byte of it matters.
fn zstd_container(len: usize, chunk_size: u32) -> (Vec<u8>, Vec<u8>) {
    let plain: Vec<u8> = (0..len).map(|index| (index / 7 * 31) as u8).collect();
    let chunks: Vec<_> = plain.chunks(chunk_size as usize).map(zstd_frame).collect();
    (
        build(Algorithm::Zstd, len as u64, chunk_size, &chunks),
        plain,
    )
}

fn zstd_frame(bytes: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; zstd_safe::compress_bound(bytes.len())];
    let len = zstd_safe::compress(frame.as_mut_slice(), bytes, 3).expect("room");
    frame.truncate(len);
    frame
}

/// A `GDeflate` stream of one stored block of less than 32 bytes.
fn gdeflate_stream(bytes: &[u8]) -> Vec<u8> {
    let mut words = [0_u32; 33];
    for (word, byte) in words.iter_mut().zip(bytes) {
        *word = u32::from(*byte);
    }
    words[0] = words[0] << 19 | (bytes.len() as u32) << 3 | 1;
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn decode(payload: &[u8], kind: CodecKind, len: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0xAA; len];
    decompress_into(payload, kind, &mut bytes, &Cancel::new()).map(|()| bytes)
}

#[track_caller]
fn refusal(payload: &[u8]) -> String {
    match Container::parse(payload) {
        Err(Error::Fcg1(text)) => text,
        other => panic!("not refused: {other:?}"),
    }
}

#[track_caller]
fn damage(payload: &[u8], kind: CodecKind, len: usize) -> String {
    match decode(payload, kind, len) {
        Err(Error::Fcg1(text)) => text,
        other => panic!("not refused: {other:?}"),
    }
}

/// A payload with another number of `len` bytes at an offset.
fn with_number(payload: &[u8], at: usize, number: u64, len: usize) -> Vec<u8> {
    let mut payload = payload.to_vec();
    payload[at..at + len].copy_from_slice(&number.to_le_bytes()[..len]);
    payload
}

#[test]
fn recorded_gdeflate_object_decodes() {
    let payload = object("gpu_gdeflate.body");
    let container = Container::parse(&payload).expect("sound");
    assert_eq!(container.algorithm(), Algorithm::Gdeflate);
    assert_eq!(container.data_type(), 0);
    assert_eq!(container.original_size(), 158_000);
    assert_eq!(container.chunk_size(), 65_536);
    assert_eq!(container.chunk_count(), 3);
    let bytes = decode(&payload, CodecKind::NvcompGdeflate, 158_000).expect("sound");
    assert_eq!(
        sha256(&bytes),
        "0859ef98241bbb2801f904792dee239e45dfff482f91cd11415d3045ec274131"
    );
}

#[test]
fn recorded_zstd_objects_decode() {
    let payload = object("gpu_zstd_unframed.body");
    let bytes = decode(&payload, CodecKind::NvcompZstd, 65_536).expect("sound");
    assert_eq!(
        sha256(&bytes),
        "dd10683b7dec4ce6e847a8b3fbdffd93c07da71af789e94a7abd2d86dd90e232"
    );

    let body = object("gpu_zstd_framed.body");
    let mut rest = body.as_slice();
    let mut bytes = Vec::new();
    while let Some((header, after)) = rest.split_first_chunk::<28>() {
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| header[at + byte]));
        let (payload, next) = after.split_at(number(16) as usize);
        bytes.extend(decode(payload, CodecKind::NvcompZstd, number(8) as usize).expect("sound"));
        rest = next;
    }
    assert_eq!(
        sha256(&bytes),
        "2176d02bd81edf8e89111138319171311f1fc68f80300d02bce9b45a2517537c"
    );
}

#[test]
fn a_container_of_nothing_decodes_to_nothing() {
    let payload = object("gpu_zstd_empty.body");
    assert_eq!(payload, build(Algorithm::Zstd, 0, 65_536, &[]));
    assert_eq!(
        decode(&payload, CodecKind::NvcompZstd, 0).expect("sound"),
        b""
    );
    assert!(matches!(
        decode(&payload, CodecKind::NvcompZstd, 1),
        Err(Error::SizeMismatch {
            expected: 1,
            actual: 0
        })
    ));
}

#[test]
fn the_layout_is_the_documented_one() {
    let chunk = vec![1, 2, 3];
    let payload = build(Algorithm::Bitcomp, 0x0102, 0x0100, &[chunk.clone(), chunk]);
    let want = b"FCG1\x04\0\0\0\x02\x01\0\0\0\0\0\0\0\x01\0\0\x02\0\0\0\x03\0\0\0\x03\0\0\0\x01\x02\x03\x01\x02\x03";
    assert_eq!(payload, want);
}

#[test]
fn chunks_carry_their_bytes_and_lengths() {
    let stored = [vec![1; 5], vec![], vec![3; 9]];
    let payload = build(Algorithm::Lz4, 205, 100, &stored);
    let container = Container::parse(&payload).expect("sound");
    assert_eq!(container.chunks().len(), 3);
    let chunks: Vec<_> = container.chunks().collect();
    for (chunk, (stored, len)) in chunks.iter().zip(stored.iter().zip([100, 100, 5])) {
        assert_eq!((chunk.stored, chunk.original_len), (stored.as_slice(), len));
    }
}

#[test]
fn both_open_algorithms_round_trip_at_every_edge() {
    for len in [1, 2, 9, 10, 11, 20, 29, 30, 31] {
        let (payload, plain) = zstd_container(len, 10);
        assert_eq!(
            decode(&payload, CodecKind::NvcompZstd, len).expect("sound"),
            plain
        );
        let chunks: Vec<_> = plain.chunks(10).map(gdeflate_stream).collect();
        let payload = build(Algorithm::Gdeflate, len as u64, 10, &chunks);
        assert_eq!(
            decode(&payload, CodecKind::NvcompGdeflate, len).expect("sound"),
            plain
        );
    }
}

#[test]
fn bytes_after_the_last_chunk_are_ignored() {
    let (mut payload, plain) = zstd_container(1000, 300);
    payload.extend(b"trailer");
    assert_eq!(
        decode(&payload, CodecKind::NvcompZstd, 1000).expect("sound"),
        plain
    );
}

#[test]
fn a_container_cut_at_any_byte_is_refused() {
    let (payload, _) = zstd_container(1000, 300);
    for len in 0..payload.len() {
        assert!(!refusal(&payload[..len]).is_empty(), "cut to {len} bytes");
    }
}

#[test]
fn a_wrong_magic_is_refused_and_shown() {
    assert_eq!(
        refusal(&[b"S4F2".as_slice(), &[0; 20]].concat()),
        "bad magic: expected FCG1, got \"S4F2\""
    );
}

#[test]
fn unknown_algorithms_and_data_types_are_refused() {
    let (payload, _) = zstd_container(10, 10);
    for id in [0, 6, 255] {
        assert!(refusal(&with_number(&payload, 4, id, 1)).contains(&format!("algorithm {id}")));
    }
    let bitcomp = build(Algorithm::Bitcomp, 1, 1, &[vec![0]]);
    let tagged = with_number(&bitcomp, 5, 11, 1);
    assert_eq!(Container::parse(&tagged).expect("sound").data_type(), 11);
    assert!(refusal(&with_number(&bitcomp, 5, 12, 1)).contains("data type 12"));
}

#[test]
fn absurd_sizes_and_counts_are_refused() {
    let (payload, _) = zstd_container(1000, 300);
    let cases = [
        (8, u64::MAX, 8),
        (8, 1201, 8),
        (8, 900, 8),
        (8, 0, 8),
        (16, 0, 4),
        (16, (16 << 20) + 1, 4),
        (16, u64::from(u32::MAX), 4),
        (16, 1, 4),
        (20, 0, 4),
        (20, 3, 4),
        (20, 5, 4),
        (20, u64::from(u32::MAX), 4),
        (24, u64::from(u32::MAX), 4),
        (36, 1 << 31, 4),
    ];
    for (at, number, len) in cases {
        let text = refusal(&with_number(&payload, at, number, len));
        assert!(!text.is_empty(), "{number} at {at}");
    }
    // Counts and sizes that agree, over a table that is not there.
    let huge = build(Algorithm::Zstd, u64::from(u32::MAX), 1, &[]);
    let huge = with_number(&huge, 20, u64::from(u32::MAX), 4);
    assert_eq!(
        refusal(&huge),
        "chunk table of 17179869180 bytes, 0 are left"
    );
}

#[test]
fn chunks_that_cannot_hold_what_they_claim_are_refused() {
    // A table of empty chunks would otherwise claim 16 MiB with each of its entries.
    let nothing = vec![vec![]; 100];
    for algorithm in [Algorithm::Zstd, Algorithm::Gdeflate] {
        let text = refusal(&build(algorithm, 100 << 24, 16 << 20, &nothing));
        assert_eq!(text, "chunk 0: 0 bytes cannot hold 16777216");
    }
    let zeros = vec![0; 16 << 20];
    let payload = build(Algorithm::Zstd, 16 << 20, 16 << 20, &[zstd_frame(&zeros)]);
    assert!(decode(&payload, CodecKind::NvcompZstd, 16 << 20).expect("sound") == zeros);
}

#[test]
fn the_largest_chunk_size_is_accepted() {
    let payload = build(Algorithm::Zstd, 1, 16 << 20, &[zstd_frame(b"x")]);
    assert_eq!(
        decode(&payload, CodecKind::NvcompZstd, 1).expect("sound"),
        b"x"
    );
}

#[test]
fn a_codec_with_the_algorithm_of_another_is_refused() {
    let zstd = build(Algorithm::Zstd, 1, 1, &[zstd_frame(b"x")]);
    let gdeflate = build(Algorithm::Gdeflate, 1, 1, &[gdeflate_stream(b"x")]);
    assert!(damage(&zstd, CodecKind::NvcompGdeflate, 1).contains("zstd chunks"));
    assert!(damage(&gdeflate, CodecKind::NvcompZstd, 1).contains("gdeflate chunks"));
    for algorithm in [Algorithm::Snappy, Algorithm::Lz4, Algorithm::Bitcomp] {
        let payload = build(algorithm, 1, 1, &[vec![0]]);
        assert!(damage(&payload, CodecKind::NvcompZstd, 1).contains(algorithm.name()));
    }
}

#[test]
fn bitcomp_and_codecs_without_a_container_are_refused_as_unsupported() {
    let payload = build(Algorithm::Bitcomp, 1, 1, &[vec![0]]);
    for kind in [
        CodecKind::NvcompBitcomp,
        CodecKind::NvcompGans,
        CodecKind::CpuZstd,
    ] {
        let error = decode(&payload, kind, 1).expect_err("refused");
        assert_eq!(error, Error::UnsupportedCodec { codec: kind });
    }
}

#[test]
fn another_size_than_the_buffer_is_a_size_mismatch() {
    let (payload, _) = zstd_container(1000, 300);
    for len in [0, 999, 1001, 5000] {
        let error = decode(&payload, CodecKind::NvcompZstd, len).expect_err("refused");
        assert_eq!(
            error,
            Error::SizeMismatch {
                expected: len as u64,
                actual: 1000
            }
        );
    }
}

#[test]
fn a_damaged_chunk_is_named() {
    let good = zstd_frame(&[7; 10]);
    let cases = [
        vec![],
        b"junk".to_vec(),
        zstd_frame(&[7; 9]),
        zstd_frame(&[7; 11]),
        good[..9].to_vec(),
    ];
    for bad in cases {
        let payload = build(
            Algorithm::Zstd,
            40,
            10,
            &[good.clone(), good.clone(), bad, good.clone()],
        );
        let text = damage(&payload, CodecKind::NvcompZstd, 40);
        assert!(text.starts_with("chunk 2: "), "{text}");
    }
    let good = gdeflate_stream(&[7; 10]);
    let cases = [
        vec![0; 4],
        vec![0; 3],
        vec![0xFF; 132],
        gdeflate_stream(&[7; 9]),
        gdeflate_stream(&[7; 11]),
    ];
    for bad in cases {
        let payload = build(Algorithm::Gdeflate, 20, 10, &[good.clone(), bad]);
        let text = damage(&payload, CodecKind::NvcompGdeflate, 20);
        assert!(text.starts_with("chunk 1: gdeflate: "), "{text}");
    }
}

#[test]
fn a_thread_pool_decodes_the_same_bytes() {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(3)
        .build()
        .expect("threads");
    for (len, chunk_size) in [(400_000, 65_536), (100_000, 100), (50, 1)] {
        let (mut payload, plain) = zstd_container(len, chunk_size);
        let bytes = pool.install(|| decode(&payload, CodecKind::NvcompZstd, len));
        assert!(bytes.expect("sound") == plain);
        let last = payload.len() - 1;
        payload.truncate(last);
        payload[HEADER_LEN..].fill(0);
        let error = pool.install(|| decode(&payload, CodecKind::NvcompZstd, len));
        assert!(matches!(error, Err(Error::Fcg1(text)) if text.starts_with("chunk ")));
    }
}

proptest! {
    #[test]
    fn changed_bytes_never_panic_nor_decode_to_another_length(
        changes in proptest::collection::vec((0..400_usize, any::<u8>()), 1..6),
    ) {
        let (mut payload, _) = zstd_container(1000, 300);
        for (at, byte) in changes {
            let at = at % payload.len();
            payload[at] = byte;
        }
        let _ = decode(&payload, CodecKind::NvcompZstd, 1000);
        if let Ok(container) = Container::parse(&payload) {
            let total: u64 = container.chunks().map(|chunk| chunk.original_len as u64).sum();
            prop_assert_eq!(total, container.original_size());
            prop_assert_eq!(container.chunks().count(), container.chunk_count());
        }
    }

    #[test]
    fn random_bytes_never_panic(tail in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Container::parse(&tail);
        let payload = [b"FCG1".as_slice(), &tail].concat();
        let _ = decode(&payload, CodecKind::NvcompGdeflate, 100);
    }
}
