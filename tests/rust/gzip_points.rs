//! Checkpoints in gzip files: every point gives what follows, and nothing passes that is damaged.

use std::io::Write;

use flate2::{Compression, GzBuilder, write::GzEncoder};
use proptest::prelude::*;
use shardpack::{
    checksum::crc32c,
    codec::{
        gzip_points::{self, GzipIndexer, Point},
        stream::Decompress,
    },
    error::{Error, Result},
    pool::Cancel,
};

const SPAN: u64 = 32 << 10;

/// Bytes of different kinds: text with repeats near and far, noise, runs.
fn sample(kind: u8, len: usize, mut seed: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(len + 64);
    while out.len() < len {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        match kind % 4 {
            0 => out.extend_from_slice(&(seed >> 16).to_le_bytes()[..6]),
            1 => out.extend(format!("{} order={} level=info\n", seed >> 60, seed >> 50).bytes()),
            2 => out.extend(std::iter::repeat_n(
                (seed >> 40) as u8,
                (seed >> 54) as usize,
            )),
            _ if out.len() > 40_000 => {
                let start = out.len() - 20_000 - (seed >> 51) as usize;
                out.extend_from_within(start..start + 100);
            }
            _ => out.push((seed >> 33) as u8),
        }
    }
    out.truncate(len);
    out
}

fn gzip(data: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// Decodes in pieces of the given lengths of input and output.
fn index(stored: &[u8], span: u64, piece: usize, max: usize) -> Result<(Vec<u8>, Vec<Point>)> {
    let mut indexer = GzipIndexer::new(span)?;
    let (mut out, mut points) = (Vec::new(), Vec::new());
    for part in stored.chunks(piece.max(1)) {
        let mut rest = part;
        loop {
            let before = out.len();
            let used = indexer.decompress(rest, &mut out, max)?;
            assert!(out.len() - before <= max);
            rest = &rest[used..];
            points.append(&mut indexer.take_points());
            if rest.is_empty() && out.len() - before < max {
                break;
            }
        }
    }
    if !indexer.is_complete() {
        return Err(indexer.cut_short());
    }
    let mut starts = points.iter().map(|point| point.original as usize);
    let mut start = starts.next().unwrap_or(0);
    for (end, point) in starts.zip(&points[1..]) {
        assert_eq!(point.crc32c_before, crc32c(&out[start..end], 0));
        start = end;
    }
    assert_eq!(indexer.crc32c_behind(), crc32c(&out[start..], 0));
    assert_eq!(indexer.position(), (stored.len() as u64, out.len() as u64));
    Ok((out, points))
}

fn resume(point: &Point, stored: &[u8], len: usize) -> Result<Vec<u8>> {
    let mut out = vec![0xa5; len];
    let stored = &stored[point.stored as usize..];
    gzip_points::resume(&point.window, point.bits, stored, &mut out, &Cancel::new())?;
    Ok(out)
}

/// Every point gives all that follows, and from the bytes up to the next point all up to there.
fn check(stored: &[u8], original: &[u8], points: &[Point]) {
    assert_eq!((points[0].stored, points[0].original), (0, 0));
    for (number, point) in points.iter().enumerate() {
        let rest = &original[point.original as usize..];
        assert!(
            resume(point, stored, rest.len()).unwrap() == rest,
            "{number}"
        );
        if let Some(next) = points.get(number + 1) {
            assert!(point.original < next.original && point.stored < next.stored);
            let len = (next.original - point.original) as usize;
            let end = next.stored as usize + usize::from(next.bits > 0);
            assert!(resume(point, &stored[..end], len).unwrap() == rest[..len]);
        }
        assert!(matches!(
            resume(point, stored, rest.len() + 1),
            Err(Error::Decode { .. })
        ));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_point_gives_what_follows(
        members in prop::collection::vec((0u8..4, 0usize..200_000, 0u32..10, any::<u64>()), 1..4),
        span in SPAN..100_000,
        piece in prop_oneof![Just(usize::MAX), 1usize..70_000],
        max in prop_oneof![Just(usize::MAX), 1_000usize..70_000],
    ) {
        let (mut stored, mut original) = (Vec::new(), Vec::new());
        for (kind, len, level, seed) in members {
            let data = sample(kind, len, seed);
            stored.extend(gzip(&data, level));
            original.extend(data);
        }
        let (out, points) = index(&stored, span, piece.min(stored.len()), max).unwrap();
        prop_assert!(out == original);
        check(&stored, &original, &points);
    }

    #[test]
    fn bytes_of_any_kind_are_decoded_or_refused(
        mut stored in prop::collection::vec(any::<u8>(), 0..300),
        window in prop::collection::vec(any::<u8>(), 0..40),
        bits in 0u8..=9,
        len in 0usize..5_000,
        as_member: bool,
    ) {
        let mut out = vec![0; len];
        let _ = gzip_points::resume(&window, bits, &stored, &mut out, &Cancel::new());
        if as_member {
            stored.splice(0..0, [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
        }
        let _ = index(&stored, SPAN, 7, 1_000);
    }

    #[test]
    fn a_flipped_bit_never_gives_other_bytes(at in 10usize..60_000, bit in 0u8..8, kind in 0u8..4) {
        let original = sample(kind, 60_000, 5);
        let mut stored = gzip(&original, 6);
        let at = at % (stored.len() - 10) + 10;
        stored[at] ^= 1 << bit;
        // Another distance may mean the same in a run; the bits before the trailer mean nothing.
        if let Ok((out, _)) = index(&stored, SPAN, 4_096, 8_192) {
            prop_assert!(out == original);
        }
    }
}

#[test]
fn points_come_at_about_the_span_for_all_levels_and_kinds() {
    for kind in 0..4 {
        let original = sample(kind, 700_000, 3);
        for level in 0..10 {
            let stored = gzip(&original, level);
            let (out, points) = index(&stored, SPAN, 5_000, 9_000).unwrap();
            assert!(out == original);
            // What repeats fits into few blocks, and level 1 of zlib-rs writes one for everything.
            let least = if kind < 2 && level != 1 { 2 } else { 1 };
            assert!(points.len() >= least, "{kind} {level}: {}", points.len());
            check(&stored, &original, &points);
        }
    }
}

#[test]
fn empty_and_fixed_and_stored_blocks_are_stepped_over() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    let original = sample(1, 300_000, 8);
    for part in original.chunks(37) {
        encoder.write_all(part).unwrap();
        encoder.flush().unwrap();
    }
    let stored = encoder.finish().unwrap();
    for (piece, max) in [(1, 50_000), (3, 7), (100_000, 40_000)] {
        let (out, points) = index(&stored, SPAN, piece, max).unwrap();
        assert!(out == original);
        assert!(points.len() >= 9, "{}", points.len());
        check(&stored, &original, &points);
    }
}

#[test]
fn header_fields_are_read_and_their_checksum_is_held() {
    let original = sample(1, 100_000, 2);
    let mut encoder = GzBuilder::new()
        .extra(vec![7; 600])
        .filename("name")
        .comment("words")
        .mtime(9)
        .write(Vec::new(), Compression::new(6));
    encoder.write_all(&original).unwrap();
    let plain = encoder.finish().unwrap();
    let header_len = 10 + 2 + 600 + 5 + 6;
    let mut stored = plain.clone();
    stored[3] |= 2;
    let crc = libdeflater::crc32(&stored[..header_len]) as u16;
    stored.splice(header_len..header_len, crc.to_le_bytes());
    for file in [plain, stored.clone()] {
        let twice = [file.as_slice(), &file].concat();
        let (out, points) = index(&twice, SPAN, 11, 20_000).unwrap();
        assert!(out == [original.as_slice(), &original].concat());
        check(&twice, &out, &points);
    }
    stored[header_len] ^= 1;
    assert!(index(&stored, SPAN, 11, 20_000).is_err());
}

#[test]
fn small_members_give_points_without_windows() {
    let part = sample(1, 5_000, 1);
    let stored = gzip(&part, 6).repeat(100);
    let (out, points) = index(&stored, 320_000, 999, 100_000).unwrap();
    assert!(out == part.repeat(100));
    assert_eq!(
        points.len(),
        25,
        "every 20,000 bytes, a sixteenth of the span"
    );
    assert!(
        points
            .iter()
            .all(|point| point.window.is_empty() && point.bits == 0)
    );
    check(&stored, &out, &points);
}

#[test]
fn windows_hold_only_what_is_referred_to() {
    let original = sample(0, 1_000_000, 4);
    let (_, points) = index(&gzip(&original, 6), SPAN, 4_096, 8_192).unwrap();
    assert!(points.len() > 10);
    for point in &points[1..] {
        let used = point.window.iter().filter(|&&byte| byte != 0).count();
        assert!((1..=32 << 10).contains(&point.window.len()));
        assert!(used < 500, "{used} bytes of noise are referred to");
    }
}

#[test]
fn files_that_are_cut_short_are_refused() {
    let original = sample(1, 2_000, 6);
    let stored = [gzip(&original, 6), gzip(&original, 1)].concat();
    let first = gzip(&original, 6).len();
    for len in 0..stored.len() {
        let whole = len == first;
        assert_eq!(index(&stored[..len], SPAN, 50, 99).is_ok(), whole, "{len}");
    }
}

#[test]
fn trailers_are_checked_and_padding_is_skipped() {
    let stored = gzip(b"some bytes", 6);
    let padded = [stored.as_slice(), &[0; 600]].concat();
    assert_eq!(index(&padded, SPAN, 13, 5).unwrap().0, b"some bytes");
    assert!(index(&[padded.as_slice(), &stored].concat(), SPAN, 13, 5).is_err());
    for at in stored.len() - 8..stored.len() {
        let mut damaged = stored.clone();
        damaged[at] ^= 1;
        assert!(index(&damaged, SPAN, 13, 5).is_err(), "{at}");
    }
}

#[test]
fn arguments_out_of_range_are_refused() {
    assert!(matches!(
        GzipIndexer::new(SPAN - 1),
        Err(Error::Argument(_))
    ));
    let result = gzip_points::resume(b"x", 8, b"abc", &mut [0], &Cancel::new());
    assert!(matches!(result, Err(Error::Argument(_))));
    assert!(gzip_points::check_size(1_000, 1_000_000).is_ok());
    assert!(gzip_points::check_size(1_000, 1_100_000).is_err());
    for (window, bits) in [(&b""[..], 0), (b"x", 0), (b"x", 3)] {
        assert!(gzip_points::resume(window, bits, b"", &mut [], &Cancel::new()).is_ok());
        assert!(gzip_points::resume(window, bits, b"", &mut [0], &Cancel::new()).is_err());
    }
}
