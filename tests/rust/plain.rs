//! Plain streams: every zstd frame and every gzip member, whoever wrote them.

use std::io::Read as _;

use proptest::prelude::*;
use shardpack::{
    Error, Result,
    codec::{
        Codec, CodecKind, CpuGzip, CpuZstd, Passthrough, gzip_member,
        plain::{decode_pieces, open},
    },
    pool::{self, Cancel},
};

use crate::vectors::{codecs, compress, cut, data, make, one_of_each, packing_codecs};

/// A codec and payloads of it that make a stream.
type Pieces = (Box<dyn Codec>, Vec<Vec<u8>>);

/// Decodes a stream as callers do: in its final place if its lengths are stated and true, else
/// growing.
fn read_all(codec: &dyn Codec, stream: &[u8], limit: u64, cancel: &Cancel) -> Result<Vec<u8>> {
    let (pieces, stated) = open(codec, stream, limit)?;
    if let Some(len) = stated {
        let mut decoded = vec![0xAA; len];
        if decode_pieces(codec, &pieces, &mut decoded, cancel)? {
            return Ok(decoded);
        }
    }
    grow(codec, stream, limit, cancel)
}

fn grow(codec: &dyn Codec, stream: &[u8], limit: u64, cancel: &Cancel) -> Result<Vec<u8>> {
    let mut decoded = Vec::new();
    codec.decompress_all(stream, &mut decoded, limit, cancel)?;
    Ok(decoded)
}

fn both_ways(codec: &dyn Codec, stream: &[u8]) -> [Result<Vec<u8>>; 2] {
    let cancel = Cancel::new();
    [
        read_all(codec, stream, 1 << 20, &cancel),
        grow(codec, stream, 1 << 20, &cancel),
    ]
}

fn members(plain: &[u8], member_len: usize) -> Vec<Vec<u8>> {
    CpuGzip::new(6)
        .compress_members(plain, member_len, &Cancel::new())
        .unwrap()
}

/// A BGZF block: a member with its length less one in an extra field `BC`.
fn bgzf_block(plain: &[u8]) -> Vec<u8> {
    let member = compress(&CpuGzip::new(6), plain);
    let mut block = member[..10].to_vec();
    block[3] = 4;
    block.extend([6, 0, b'B', b'C', 2, 0]);
    block.extend(((member.len() + 8 - 1) as u16).to_le_bytes());
    block.extend(&member[10..]);
    block
}

#[test]
fn sized_members_are_found_without_decoding_and_read_by_any_gzip_reader() {
    let plain = make("lines", "a", 100_001);
    let members = members(&plain, 10_000);
    assert_eq!(members.len(), 11);
    let stream = members.concat();
    let gzip = CpuGzip::new(6);
    let (pieces, stated) = open(&gzip, &stream, 1 << 20).unwrap();
    let found: Vec<&[u8]> = pieces.iter().map(|piece| piece.stored).collect();
    assert_eq!(found, members);
    assert_eq!(stated, Some(plain.len()));
    for member in &members {
        assert_eq!(gzip_member::sized_member(member), Some(&member[..]));
        assert_eq!(member[12..16], *b"IG\x04\x00");
        assert_eq!(member[16..20], (member.len() as u32).to_le_bytes());
    }
    let mut read = Vec::new();
    flate2::read::MultiGzDecoder::new(stream.as_slice())
        .read_to_end(&mut read)
        .unwrap();
    assert_eq!(read, plain);
    for result in both_ways(&gzip, &stream) {
        assert_eq!(result.unwrap(), plain);
    }
}

#[test]
fn members_do_not_depend_on_the_number_of_threads() {
    let plain = make("lines", "a", 100_001);
    let alone = members(&plain, 4096);
    for threads in 1..=4 {
        let together = pool::install(Some(threads), || members(&plain, 4096)).unwrap();
        assert!(together == alone, "{threads} threads");
    }
    assert_eq!(members(b"", 5).len(), 1);
    assert_eq!(
        both_ways(&CpuGzip::new(6), &members(b"", 5).concat())[0],
        Ok(Vec::new())
    );
}

#[test]
fn a_member_size_out_of_range_is_refused() {
    for member_len in [0, (1 << 30) + 1, usize::MAX] {
        let refused = CpuGzip::new(6).compress_members(b"data", member_len, &Cancel::new());
        assert!(matches!(refused, Err(Error::Argument(_))), "{refused:?}");
    }
}

#[test]
fn bgzf_blocks_are_found_without_decoding() {
    let plain = make("lines", "a", 30_000);
    let stream: Vec<u8> = plain
        .chunks(7000)
        .chain([&b""[..]])
        .flat_map(bgzf_block)
        .collect();
    let gzip = CpuGzip::new(6);
    let (pieces, stated) = open(&gzip, &stream, 1 << 20).unwrap();
    assert_eq!((pieces.len(), stated), (6, Some(plain.len())));
    for result in both_ways(&gzip, &stream) {
        assert_eq!(result.unwrap(), plain);
    }
}

#[test]
fn zstd_frames_that_state_their_length_are_pieces_and_skippable_ones_are_not() {
    let (a, b) = (make("lines", "a", 3000), make("noise", "b", 500));
    let sized = CpuZstd::new(3, true);
    let skippable = b"\x50\x2a\x4d\x18\x00\x00\x00\x00".to_vec();
    let stream = [
        skippable.clone(),
        compress(&sized, &a),
        skippable.clone(),
        compress(&sized, &b),
        skippable.clone(),
    ]
    .concat();
    let (pieces, stated) = open(&sized, &stream, 1 << 20).unwrap();
    assert_eq!((pieces.len(), stated), (2, Some(3500)));
    let mixed = [stream.clone(), compress(&CpuZstd::new(1, false), &a)].concat();
    assert_eq!(open(&sized, &mixed, 1 << 20).unwrap().1, None);
    for result in both_ways(&sized, &stream) {
        assert_eq!(result.unwrap(), [a.clone(), b.clone()].concat());
    }
    for result in both_ways(&sized, &mixed) {
        assert_eq!(result.unwrap(), [a.clone(), b.clone(), a.clone()].concat());
    }
    for result in both_ways(&sized, &skippable) {
        assert_eq!(result.unwrap(), b"");
    }
}

#[test]
fn pieces_decode_alike_on_any_number_of_threads() {
    let plain = make("lines", "a", 200_000);
    let sized = CpuZstd::new(3, true);
    let frames: Vec<u8> = plain
        .chunks(9000)
        .flat_map(|part| compress(&sized, part))
        .collect();
    let gzip = members(&plain, 9000).concat();
    let streams: [(&dyn Codec, &[u8]); 2] = [(&sized, &frames), (&CpuGzip::new(6), &gzip)];
    for (codec, stream) in streams {
        for threads in 1..=4 {
            let decode = || read_all(codec, stream, 1 << 20, &Cancel::new());
            let decoded = pool::install(Some(threads), decode).unwrap();
            assert!(decoded.unwrap() == plain, "{codec:?} on {threads} threads");
        }
    }
}

#[test]
fn of_several_damaged_pieces_the_first_is_reported_on_any_number_of_threads() {
    let sized = CpuZstd::new(3, true);
    let mut stream = Vec::new();
    for part in make("noise", "a", 64_000).chunks(1000) {
        // A frame of one raw block: dropping its last byte and mending the block's size leaves a
        // sound frame with less than it states.
        let mut frame = compress(&sized, part);
        if stream.len() > 30_000 {
            let cut = stream.len() / 1000;
            frame.truncate(frame.len() - cut);
            let at = frame.len() - (1000 - cut) - 3;
            let word = ((1000 - cut as u32) << 3) | 1;
            frame[at..at + 3].copy_from_slice(&word.to_le_bytes()[..3]);
        }
        stream.extend(frame);
    }
    let alone = read_all(&sized, &stream, 1 << 20, &Cancel::new());
    assert!(matches!(alone, Err(Error::Decode { .. })), "{alone:?}");
    for threads in 1..=4 {
        let decode = || read_all(&sized, &stream, 1 << 20, &Cancel::new());
        assert_eq!(pool::install(Some(threads), decode).unwrap(), alone);
    }
}

#[test]
fn a_stream_of_nothing_is_refused_where_a_frame_is_due() {
    for codec in packing_codecs() {
        for result in both_ways(&*codec, b"") {
            assert!(
                matches!(result, Err(Error::Decode { .. })),
                "{codec:?} {result:?}"
            );
        }
    }
    assert_eq!(
        both_ways(&Passthrough, b""),
        [Ok(Vec::new()), Ok(Vec::new())]
    );
}

#[test]
fn bytes_that_follow_the_last_piece_are_refused() {
    for codec in packing_codecs() {
        let payload = compress(&*codec, b"some data");
        for tail in [
            &b"\0"[..],
            b"\0\0\0\0\0\0\0\0",
            b"junk",
            b"\x1f",
            b"\x28\xb5\x2f\xfd",
        ] {
            let padding = codec.kind() == CodecKind::CpuGzip && tail.iter().all(|&byte| byte == 0);
            for result in both_ways(&*codec, &[&payload, tail].concat()) {
                if padding {
                    assert_eq!(result.unwrap(), b"some data");
                    continue;
                }
                assert!(
                    matches!(result, Err(Error::Decode { .. })),
                    "{codec:?} {tail:?} {result:?}"
                );
            }
        }
    }
}

#[test]
fn a_stream_cut_at_any_byte_is_refused_unless_the_cut_is_between_pieces() {
    let parts = [make("lines", "a", 150), Vec::new(), make("noise", "b", 60)];
    let mut streams: Vec<Pieces> = one_of_each()
        .into_iter()
        .map(|codec| {
            let pieces = parts.iter().map(|part| compress(&*codec, part)).collect();
            (codec, pieces)
        })
        .collect();
    let sized = parts.iter().flat_map(|part| members(part, 1000)).collect();
    streams.push((Box::new(CpuGzip::new(6)), sized));
    streams.push((
        Box::new(CpuGzip::new(6)),
        parts.iter().map(|part| bgzf_block(part)).collect(),
    ));
    for (codec, pieces) in streams {
        let stream = pieces.concat();
        let mut ends = vec![(0, 0)];
        for (piece, part) in pieces.iter().zip(&parts) {
            let (stored, plain) = ends[ends.len() - 1];
            ends.push((stored + piece.len(), plain + part.len()));
        }
        for cut in 1..=stream.len() {
            let whole = ends.iter().find(|end| end.0 == cut);
            for result in both_ways(&*codec, &stream[..cut]) {
                match (whole, &result) {
                    (Some(&(_, len)), Ok(decoded)) => assert!(*decoded == parts.concat()[..len]),
                    (None, Err(Error::Decode { .. })) => {}
                    _ => panic!("{codec:?} cut to {cut} of {}: {result:?}", stream.len()),
                }
            }
        }
    }
}

#[test]
fn a_flipped_bit_never_panics_and_a_checksum_notices_it() {
    let parts = [make("lines", "a", 90), make("noise", "b", 40)];
    let whole = parts.concat();
    let mut streams: Vec<(Box<dyn Codec>, Vec<u8>)> = one_of_each()
        .into_iter()
        .map(|codec| {
            let stream = parts.iter().flat_map(|part| compress(&*codec, part));
            let stream = stream.collect();
            (codec, stream)
        })
        .collect();
    streams.push((Box::new(CpuGzip::new(6)), members(&whole, 100).concat()));
    for content_size in [false, true] {
        let zstd = CpuZstd::new(3, content_size).with_checksum(true);
        let stream = parts.iter().flat_map(|part| compress(&zstd, part));
        streams.push((Box::new(zstd.clone()), stream.collect()));
    }
    for (codec, mut stream) in streams {
        let checked = stream.starts_with(&gzip_member::MAGIC) || stream[4] & 4 != 0;
        for bit in 0..8 * stream.len() {
            stream[bit / 8] ^= 1 << (bit % 8);
            let result = read_all(&*codec, &stream, 1 << 20, &Cancel::new());
            let right = result.map_or(true, |decoded| decoded == whole);
            assert!(right || !checked, "{codec:?} bit {bit}");
            stream[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn no_more_comes_out_than_the_limit_allows() {
    let cancel = Cancel::new();
    let part = make("lines", "a", 1000);
    for codec in packing_codecs() {
        let stream = compress(&*codec, &part).repeat(3);
        assert_eq!(
            read_all(&*codec, &stream, 3000, &cancel).unwrap(),
            part.repeat(3)
        );
        for limit in [0, 1, 999, 1000, 1001, 2999] {
            let result = read_all(&*codec, &stream, limit, &cancel);
            let (pieces, stated) = open(&*codec, &stream, 3000).unwrap();
            let guessed = pieces.iter().any(|piece| piece.guessed);
            let expected = if stated.is_some() && !guessed {
                Error::ClaimExceedsLimit {
                    requested: 3000,
                    limit,
                }
            } else {
                Error::Bomb {
                    codec: codec.kind().name(),
                    claimed: limit,
                }
            };
            assert_eq!(result, Err(expected), "{codec:?}");
            let mut decoded = b"before".to_vec();
            let result = codec.decompress_all(&stream, &mut decoded, limit + 6, &cancel);
            assert!(
                matches!(result, Err(Error::Bomb { .. })),
                "{codec:?} {result:?}"
            );
        }
        let mut decoded = b"before".to_vec();
        codec
            .decompress_all(&stream, &mut decoded, 3006, &cancel)
            .unwrap();
        assert_eq!(decoded, [b"before".to_vec(), part.repeat(3)].concat());
    }
    let refused = read_all(&Passthrough, &part, 999, &cancel);
    assert_eq!(
        refused,
        Err(Error::ClaimExceedsLimit {
            requested: 1000,
            limit: 999
        })
    );
}

#[test]
fn a_stated_length_that_is_a_lie_is_refused() {
    let sized = CpuZstd::new(3, true);
    let mut frame = compress(&sized, &make("lines", "a", 100));
    assert_eq!(frame[4..6], [0x20, 100]);
    for lie in [0, 1, 99, 101, 255] {
        frame[5] = lie;
        for result in both_ways(&sized, &frame) {
            assert!(
                matches!(result, Err(Error::Decode { .. } | Error::Bomb { .. })),
                "{lie}: {result:?}"
            );
        }
    }
    let stream = members(&make("lines", "a", 100), 1000).concat();
    for lie in [0_u32, 99, 101, 5000, u32::MAX] {
        let mut stream = stream.clone();
        let end = stream.len() - 4;
        stream[end..].copy_from_slice(&lie.to_le_bytes());
        for result in both_ways(&CpuGzip::new(6), &stream) {
            assert!(
                matches!(result, Err(Error::Decode { .. } | Error::Bomb { .. })),
                "{lie}: {result:?}"
            );
        }
    }
}

#[test]
fn a_member_length_that_is_a_lie_never_gives_other_bytes() {
    let plain = make("lines", "a", 300);
    let stream = members(&plain, 100).concat();
    for lie in (0..400_u32).chain([u32::MAX - 1, u32::MAX]) {
        let mut stream = stream.clone();
        stream[16..20].copy_from_slice(&lie.to_le_bytes());
        for result in both_ways(&CpuGzip::new(6), &stream) {
            assert!(result.map_or(true, |decoded| decoded == plain), "{lie}");
        }
    }
}

#[test]
fn a_cancelled_call_does_not_start() {
    let cancel = Cancel::new();
    cancel.cancel();
    for codec in packing_codecs() {
        let stream = compress(&*codec, b"data").repeat(2);
        assert_eq!(
            read_all(&*codec, &stream, 100, &cancel),
            Err(Error::Interrupted)
        );
        assert_eq!(
            grow(&*codec, &stream, 100, &cancel),
            Err(Error::Interrupted)
        );
    }
    let refused = CpuGzip::new(6).compress_members(b"data", 2, &cancel);
    assert_eq!(refused, Err(Error::Interrupted));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn streams_of_any_pieces_decode_to_all_of_them(plain in data(20_000), cuts in prop::collection::vec(any::<u16>(), 0..6)) {
        let parts = cut(&plain, &cuts);
        for codec in codecs() {
            let stream: Vec<u8> = parts.iter().flat_map(|part| compress(&*codec, part)).collect();
            for result in both_ways(&*codec, &stream) {
                prop_assert_eq!(result.unwrap(), &plain[..]);
            }
        }
    }

    #[test]
    fn members_of_both_kinds_mix(plain in data(20_000), cuts in prop::collection::vec(any::<u16>(), 0..6), kinds: u8) {
        let gzip = CpuGzip::new(6);
        let mut stream = Vec::new();
        for (number, part) in cut(&plain, &cuts).into_iter().enumerate() {
            match kinds >> number & 1 {
                0 => stream.extend(compress(&gzip, part)),
                _ => stream.extend(members(part, 3000).concat()),
            }
        }
        for result in both_ways(&gzip, &stream) {
            prop_assert_eq!(result.unwrap(), &plain[..]);
        }
    }
}
