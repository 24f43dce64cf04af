//! Payloads piece by piece: slices of any size in, bounded output out.

use proptest::prelude::*;
use shardpack::{
    Error, Result,
    codec::{
        Codec, CodecKind, CpuGzip, CpuZstd, Passthrough,
        stream::{Decompress, drain},
    },
    pool::Cancel,
};

use crate::vectors::{
    claim_of, codecs, compress, cut, data, decompress, make, one_of_each, packing_codecs,
};

fn stream_compress(codec: &dyn Codec, slices: &[&[u8]]) -> Vec<u8> {
    let mut compressor = codec.compressor().unwrap();
    let mut out = Vec::new();
    for slice in slices {
        compressor.compress(slice, &mut out).unwrap();
    }
    compressor.finish(&mut out).unwrap();
    out
}

/// Feeds `slices`, takes at most `max` bytes a call, and asks for the end.
fn stream_decompress(codec: &dyn Codec, slices: &[&[u8]], max: usize) -> Result<Vec<u8>> {
    let mut decoder = codec.decompressor()?;
    let mut out = Vec::new();
    for slice in slices {
        let mut rest = *slice;
        while !rest.is_empty() {
            let read = bounded(&mut *decoder, rest, &mut out, max)?;
            rest = &rest[read..];
        }
    }
    while bounded(&mut *decoder, &[], &mut out, max).map(|_| out.len()) != Ok(out.len()) {}
    drain(
        &mut *decoder,
        &mut out,
        u64::MAX,
        codec.kind().name(),
        &Cancel::new(),
    )?;
    Ok(out)
}

/// One call, and what every call promises.
fn bounded(
    decoder: &mut dyn Decompress,
    src: &[u8],
    out: &mut Vec<u8>,
    max: usize,
) -> Result<usize> {
    let before = out.len();
    let read = decoder.decompress(src, out, max)?;
    let written = out.len() - before;
    assert!(written <= max, "{written} of at most {max} bytes");
    assert!(read <= src.len());
    assert!(read == src.len() || written == max, "stopped early");
    Ok(read)
}

#[test]
fn zstd_and_passthrough_give_the_bytes_of_one_call_in_slices_of_any_size() {
    for plain in [
        Vec::new(),
        make("lines", "a", 700_000),
        make("noise", "a", 300_000),
    ] {
        for codec in codecs()
            .iter()
            .filter(|codec| codec.kind() != CodecKind::CpuGzip)
        {
            let payload = stream_compress(&**codec, &[&plain]);
            for len in [1 << 10, 131_072, 131_073, 1 << 20] {
                let slices: Vec<&[u8]> = plain.chunks(len).collect();
                assert!(
                    stream_compress(&**codec, &slices) == payload,
                    "{codec:?} by {len}"
                );
            }
            assert_eq!(
                decompress(&**codec, &payload, claim_of(&plain)).unwrap(),
                plain
            );
        }
        for codec in [
            CpuZstd::new(1, false),
            CpuZstd::new(3, false),
            CpuZstd::new(9, false),
        ] {
            assert!(
                stream_compress(&codec, &[&plain]) == compress(&codec, &plain),
                "{codec:?}"
            );
        }
    }
}

#[test]
fn empty_slices_change_nothing() {
    for codec in codecs() {
        let expected = stream_compress(&*codec, &[b"some", b" data"]);
        let slices: [&[u8]; 5] = [b"", b"some", b"", b" data", b""];
        assert_eq!(stream_compress(&*codec, &slices), expected, "{codec:?}");
        assert_eq!(
            stream_compress(&*codec, &[b""]),
            stream_compress(&*codec, &[]),
            "{codec:?}"
        );
    }
    assert_eq!(stream_compress(&CpuZstd::new(3, false), &[b""]).len(), 9);
}

#[test]
fn a_bomb_comes_out_no_faster_than_it_is_asked_for() {
    let plain = vec![0; 40 << 20];
    for codec in [&CpuZstd::new(3, false) as &dyn Codec, &CpuGzip::new(6)] {
        let payload = compress(codec, &plain);
        let mut decoder = codec.decompressor().unwrap();
        let mut out = Vec::new();
        let mut read = bounded(&mut *decoder, &payload, &mut out, 1000).unwrap();
        assert_eq!(out.len(), 1000);
        for _ in 0..5 {
            read += bounded(&mut *decoder, &payload[read..], &mut out, 1000).unwrap();
        }
        assert_eq!(out.len(), 6000);
        assert!(out.capacity() < 1 << 20);
        assert!(!decoder.is_complete());
    }
}

#[test]
fn nothing_asked_is_nothing_given() {
    for codec in codecs() {
        let payload = compress(&*codec, b"some data");
        let mut decoder = codec.decompressor().unwrap();
        let mut out = Vec::new();
        decoder.decompress(&payload, &mut out, 0).unwrap();
        assert_eq!(out, b"");
    }
}

#[test]
fn the_end_is_complete_only_where_a_frame_or_member_ends() {
    let payloads = [make("lines", "a", 300), Vec::new(), make("noise", "b", 90)];
    for codec in one_of_each() {
        let pieces: Vec<Vec<u8>> = payloads
            .iter()
            .map(|plain| compress(&*codec, plain))
            .collect();
        let stream = pieces.concat();
        let mut ends = Vec::new();
        for piece in &pieces {
            ends.push(ends.last().unwrap_or(&0) + piece.len());
        }
        let mut decoder = codec.decompressor().unwrap();
        assert!(!decoder.is_complete(), "{codec:?} has read nothing");
        let mut out = Vec::new();
        for (at, byte) in stream.iter().enumerate() {
            assert_eq!(decoder.decompress(&[*byte], &mut out, 1000).unwrap(), 1);
            assert_eq!(
                decoder.is_complete(),
                ends.contains(&(at + 1)),
                "{codec:?} byte {at}"
            );
            decoder.decompress(&[], &mut out, 1000).unwrap();
            assert_eq!(
                decoder.is_complete(),
                ends.contains(&(at + 1)),
                "{codec:?} byte {at}"
            );
        }
        assert_eq!(out, payloads.concat());
        for cut in (1..stream.len()).filter(|cut| !ends.contains(cut)) {
            for max in [1, 1000] {
                let result = stream_decompress(&*codec, &[&stream[..cut]], max);
                let refused = matches!(result, Err(Error::Decode { .. }));
                assert!(refused, "{codec:?} cut to {cut}: {result:?}");
            }
        }
    }
}

#[test]
fn passthrough_is_complete_wherever_it_stops() {
    let decoder = Passthrough.decompressor().unwrap();
    assert!(decoder.is_complete());
    assert!(matches!(decoder.cut_short(), Error::Decode { .. }));
}

#[test]
fn bytes_that_follow_the_last_frame_are_refused() {
    for codec in packing_codecs() {
        let payload = compress(&*codec, b"some data");
        for tail in [
            &b"\0\0\0\0\0\0\0\0\0\0"[..],
            b"junkjunkjunk",
            b"\x1f",
            b"\x28\xb5\x2f\xfd\x00",
        ] {
            let result = stream_decompress(&*codec, &[&payload, tail], 1 << 20);
            if codec.kind() == CodecKind::CpuGzip && tail.iter().all(|&byte| byte == 0) {
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

#[test]
fn a_flipped_bit_never_panics_and_gzip_notices_it() {
    let plain = make("lines", "a", 200);
    for codec in one_of_each() {
        let payload = compress(&*codec, &plain);
        for bit in 0..8 * payload.len() {
            let mut damaged = payload.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let result = stream_decompress(&*codec, &[&damaged], 1000);
            let right = result.map_or(true, |decoded| decoded == plain);
            assert!(
                right || codec.kind() != CodecKind::CpuGzip,
                "{codec:?} bit {bit}"
            );
        }
    }
}

#[test]
fn a_window_above_the_limit_is_refused() {
    // One raw block of one byte; the window byte says 2^27, then 2^28.
    let frame = |window| vec![0x28, 0xb5, 0x2f, 0xfd, 0, window, 0x09, 0, 0, b'a'];
    let zstd = CpuZstd::new(3, false);
    assert_eq!(
        stream_decompress(&zstd, &[&frame(17 << 3)], 10).unwrap(),
        b"a"
    );
    let refused = stream_decompress(&zstd, &[&frame(18 << 3)], 10);
    assert!(matches!(refused, Err(Error::Decode { .. })), "{refused:?}");
}

#[test]
fn draining_obeys_the_limit_and_the_cancel_flag() {
    let zstd = CpuZstd::new(3, false);
    let payload = compress(&zstd, &vec![0; 100_000]);
    let outcome = |payload: &[u8], limit, cancel: &Cancel| {
        let mut decoder = zstd.decompressor().unwrap();
        let mut out = Vec::new();
        decoder.decompress(payload, &mut out, 10).unwrap();
        let result = drain(&mut *decoder, &mut out, limit, "cpu-zstd", cancel);
        result.map(|()| out.len())
    };
    let cancel = Cancel::new();
    let bomb = Error::Bomb {
        codec: "cpu-zstd",
        claimed: 99_999,
    };
    assert_eq!(outcome(&payload, 99_999, &cancel), Err(bomb));
    // The last byte is read only when everything before it was given out; it is missing here.
    let result = outcome(&payload, 100_000, &cancel);
    assert!(matches!(result, Err(Error::Decode { .. })), "{result:?}");
    let small = compress(&zstd, b"data");
    assert_eq!(outcome(&small, 4, &cancel), Ok(4));
    cancel.cancel();
    assert_eq!(outcome(&small, 4, &cancel), Err(Error::Interrupted));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_slices_give_the_bytes_of_one_call(plain in data(300_000), cuts in prop::collection::vec(any::<u16>(), 0..8)) {
        let slices = cut(&plain, &cuts);
        for codec in codecs() {
            let payload = stream_compress(&*codec, &slices);
            match codec.kind() {
                // libdeflate in one call, zlib-rs in slices: other bytes, the same content.
                CodecKind::CpuGzip => {
                    prop_assert_eq!(&payload[..10], &compress(&*codec, &plain)[..10]);
                    prop_assert_eq!(decompress(&*codec, &payload, claim_of(&plain)).unwrap(), &plain[..]);
                }
                _ if format!("{codec:?}").contains("content_size: true") => {
                    prop_assert_eq!(decompress(&*codec, &payload, claim_of(&plain)).unwrap(), &plain[..]);
                }
                _ => prop_assert!(payload == compress(&*codec, &plain), "{:?}", codec),
            }
        }
    }

    #[test]
    fn any_slices_and_any_bound_decode_to_everything(
        plain in data(20_000), cuts in prop::collection::vec(any::<u16>(), 0..8), max in 1..5000_usize,
    ) {
        for codec in codecs() {
            let half = plain.len() / 2;
            let stream = [compress(&*codec, &plain[..half]), compress(&*codec, &plain[half..])].concat();
            let decoded = stream_decompress(&*codec, &cut(&stream, &cuts), max);
            prop_assert_eq!(decoded.unwrap(), &plain[..], "{:?}", codec);
        }
    }
}
