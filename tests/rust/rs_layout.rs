//! Buffers cut into shards and back, and parity of data that comes in pieces.

use proptest::prelude::*;
use shardpack::{
    Error, Result, pool,
    pool::Cancel,
    rs::{layout, stream::Encoder},
};

use crate::{
    rs::{encode, noise, shards_of, slices, slices_mut},
    vectors::{json, make, number, rows, text, unhex},
};

fn split(data: &[u8], k: usize) -> Result<Vec<Vec<u8>>> {
    let mut shards = vec![vec![0xAA; layout::shard_len(data.len(), k)?]; k];
    layout::split(data, &mut slices_mut(&mut shards))?;
    Ok(shards)
}

fn encode_striped(data: &[u8], k: usize, m: usize, block: usize) -> Result<Vec<Vec<u8>>> {
    let len = layout::striped_shard_len(data.len(), k, block)?;
    let mut shards = vec![vec![0xAA; len]; k + m];
    let cancel = Cancel::new();
    layout::encode_striped(data, k, block, &mut slices_mut(&mut shards), &cancel)?;
    Ok(shards)
}

fn decode_striped(
    shards: &[Option<&[u8]>],
    k: usize,
    block: usize,
    size: usize,
) -> Result<Vec<u8>> {
    let mut data = vec![0xAA; size];
    layout::decode_striped(shards, k, block, &mut data, &Cancel::new())?;
    Ok(data)
}

/// The shards without every shard whose place in `lost` is true.
fn holes<'a>(shards: &'a [Vec<u8>], lost: &[usize]) -> Vec<Option<&'a [u8]>> {
    let keep =
        |(index, shard): (usize, &'a Vec<u8>)| (!lost.contains(&index)).then_some(shard.as_slice());
    shards.iter().enumerate().map(keep).collect()
}

/// The rule of the striped layout, stripe by stripe.
fn naive_striped(data: &[u8], k: usize, m: usize, block: usize) -> Vec<Vec<u8>> {
    let mut shards = vec![Vec::new(); k + m];
    for stripe in data.chunks(k * block) {
        let parts = split(stripe, k).unwrap();
        let parity = encode(&parts, m).unwrap();
        for (shard, part) in shards.iter_mut().zip(parts.iter().chain(&parity)) {
            shard.extend_from_slice(part);
        }
    }
    shards
}

#[test]
fn recorded_layouts_are_made_and_read() {
    for row in rows(&json("rs/layout.json"), "cases") {
        let (k, m) = (number(&row, "k") as usize, number(&row, "m") as usize);
        let (block, data) = (number(&row, "block") as usize, unhex(text(&row, "data")));
        let expected = shards_of(&row["contiguous"], "shards");
        let shards = split(&data, k).unwrap();
        assert_eq!(shards, expected[..k]);
        assert_eq!(encode(&shards, m).unwrap(), expected[k..]);
        let mut joined = vec![0; data.len()];
        layout::join(&slices(&shards), &mut joined).unwrap();
        assert_eq!(joined, data);
        let expected = shards_of(&row["striped"], "shards");
        assert_eq!(encode_striped(&data, k, m, block).unwrap(), expected);
        let lost: Vec<usize> = (0..m).collect();
        let read = decode_striped(&holes(&expected, &lost), k, block, data.len());
        assert_eq!(read.unwrap(), data);
    }
}

#[test]
fn an_empty_buffer_has_empty_stripes_and_no_contiguous_shards() {
    assert_eq!(
        encode_striped(b"", 3, 2, 8).unwrap(),
        vec![Vec::<u8>::new(); 5]
    );
    assert_eq!(decode_striped(&[Some(&[][..]); 5], 3, 8, 0).unwrap(), b"");
    assert!(matches!(split(b"", 3), Err(Error::InvalidInput(_))));
}

#[test]
fn layouts_refuse_what_cannot_be() {
    let message = |error: Error| {
        assert!(matches!(error, Error::InvalidInput(_)), "{error:?}");
        error.to_string()
    };
    let cancel = Cancel::new();
    assert_eq!(
        message(layout::shard_len(9, 0).unwrap_err()),
        "0 data shards; at least one is needed"
    );
    assert_eq!(
        message(layout::striped_shard_len(9, 3, 0).unwrap_err()),
        "blocks of 0 bytes; at least one is needed"
    );
    assert_eq!(
        message(layout::split(&[1; 9], &mut [&mut [0; 5], &mut [0; 4]]).unwrap_err()),
        "shard 1 has 4 bytes, 5 are expected"
    );
    assert_eq!(
        message(layout::join(&[&[1; 4], &[2; 4]], &mut [0; 9]).unwrap_err()),
        "the shards have 8 bytes, 9 are wanted"
    );
    let short = layout::encode_striped(&[1; 9], 2, 4, &mut [&mut [0; 5], &mut [0; 4]], &cancel);
    assert_eq!(
        message(short.unwrap_err()),
        "2 shards with 2 data shards leave no parity shard"
    );
    let shards = encode_striped(&[1; 9], 2, 1, 4).unwrap();
    assert_eq!(
        message(decode_striped(&holes(&shards, &[0]), 2, 4, 11).unwrap_err()),
        "shard 1 has 5 bytes, 6 are expected"
    );
    let few = decode_striped(&holes(&shards, &[0, 2]), 2, 4, 9);
    assert_eq!(
        few.unwrap_err(),
        Error::ComputationFailed("1 of 3 shards are left, at least 2 are needed".into())
    );
    // Blocks longer than memory are as good as one stripe.
    assert_eq!(layout::striped_shard_len(9, 2, usize::MAX).unwrap(), 5);
    let one = encode_striped(&[1; 9], 2, 1, usize::MAX).unwrap();
    assert_eq!(
        decode_striped(&holes(&one, &[1]), 2, usize::MAX, 9).unwrap(),
        [1; 9]
    );
}

#[test]
fn long_buffers_come_back_whatever_the_threads_and_blocks_are() {
    let data = make("cycle", "", (3 << 20) + 12_345);
    let (k, m) = (5, 3);
    for block in [1000, 1 << 16, 300_000, 1 << 20] {
        let expected = naive_striped(&data, k, m, block);
        for threads in [1, 3] {
            pool::install(Some(threads), || {
                let shards = encode_striped(&data, k, m, block).unwrap();
                assert!(shards == expected, "{block} {threads}");
                for lost in [
                    vec![],
                    vec![1, 4, 6],
                    vec![0, 1, 2],
                    vec![3, 4],
                    vec![5, 6, 7],
                ] {
                    let read = decode_striped(&holes(&shards, &lost), k, block, data.len());
                    assert!(read.unwrap() == data, "{block} {threads} {lost:?}");
                }
            })
            .unwrap();
        }
    }
}

#[test]
fn a_stream_wants_each_byte_once() {
    let message = |result: Result<()>| {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::InvalidInput(_)), "{error:?}");
        error.to_string()
    };
    let mut encoder = Encoder::new(2, 1, 10).unwrap();
    encoder.add(0, &[1; 3], 4).unwrap();
    encoder.add(0, &[1; 2], 0).unwrap();
    for (piece, offset, expected) in [
        (4, 1, "shard 0: the byte at offset 1 was added before"),
        (1, 6, "shard 0: the byte at offset 6 was added before"),
        (9, 1, "shard 0: the byte at offset 1 was added before"),
        (4, 2, "shard 0: the byte at offset 4 was added before"),
        (5, 3, "shard 0: the byte at offset 4 was added before"),
        (2, 9, "shard 0: 2 bytes at offset 9 go beyond its 10 bytes"),
    ] {
        assert_eq!(message(encoder.add(0, &vec![1; piece], offset)), expected);
    }
    assert_eq!(
        message(encoder.add(0, &[1], usize::MAX)),
        format!(
            "shard 0: 1 bytes at offset {} go beyond its 10 bytes",
            usize::MAX
        )
    );
    assert_eq!(
        message(encoder.add(2, &[1], 0)),
        "shard 2 is no data shard; there are 2 of them"
    );
    encoder.add(0, &[], 5).unwrap();
    let missing = |encoder: &Encoder| message(encoder.parity().map(|_| ()));
    assert_eq!(
        missing(&encoder),
        "shard 0 is incomplete: bytes 2..4 are missing"
    );
    encoder.add(0, &[1; 2], 2).unwrap();
    assert_eq!(
        missing(&encoder),
        "shard 0 is incomplete: bytes 7..10 are missing"
    );
    encoder.add(0, &[1; 3], 7).unwrap();
    assert_eq!(
        missing(&encoder),
        "shard 1 is incomplete: bytes 0..10 are missing"
    );
    encoder.add(1, &[1; 5], 5).unwrap();
    assert_eq!(
        missing(&encoder),
        "shard 1 is incomplete: bytes 0..5 are missing"
    );
    encoder.add(1, &[1; 5], 0).unwrap();
    assert_eq!(
        encoder.parity().unwrap(),
        encode(&vec![vec![1; 10]; 2], 1).unwrap()
    );
}

#[test]
fn a_stream_of_impossible_size_is_refused() {
    for len in [usize::MAX, 1 << 62] {
        let refused = Encoder::new(4, 4, len).map(|_| ());
        assert!(
            matches!(refused, Err(Error::ComputationFailed(_))),
            "{refused:?}"
        );
    }
    for (k, m, len) in [(0, 1, 1), (1, 0, 1), (200, 57, 1), (1, 1, 0)] {
        let refused = Encoder::new(k, m, len).map(|_| ());
        assert!(
            matches!(refused, Err(Error::InvalidInput(_))),
            "{refused:?}"
        );
    }
}

proptest! {
    #[test]
    fn striped_buffers_are_those_of_their_stripes_and_come_back(
        size in 1..3000_usize, k in 1..9_usize, m in 1..5_usize, block in 1..200_usize,
        order in prop::collection::vec(any::<u32>(), 16), count in 0..5_usize,
    ) {
        let data = make("noise", "striped", size);
        let shards = encode_striped(&data, k, m, block).unwrap();
        prop_assert_eq!(&shards, &naive_striped(&data, k, m, block));
        let mut lost: Vec<usize> = (0..k + m).collect();
        lost.sort_by_key(|&index| order[index]);
        lost.truncate(count.min(m));
        let read = decode_striped(&holes(&shards, &lost), k, block, size).unwrap();
        prop_assert!(read == data, "{lost:?}");
    }

    #[test]
    fn split_buffers_are_joined(size in 1..3000_usize, k in 1..256_usize) {
        let data = make("noise", "split", size);
        let shards = split(&data, k).unwrap();
        let mut padded = data.clone();
        padded.resize(shards.concat().len(), 0);
        prop_assert_eq!(shards.concat(), padded);
        let mut joined = vec![0; size];
        layout::join(&slices(&shards), &mut joined).unwrap();
        prop_assert_eq!(joined, data);
    }

    #[test]
    fn pieces_in_any_order_make_the_parity(
        k in 1..6_usize, m in 1..5_usize, len in 1..400_usize,
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u32>()), 0..30),
    ) {
        let data = noise("pieces", k, len);
        let mut pieces: Vec<(u32, usize, usize, usize)> = Vec::new();
        for index in 0..k {
            let mut places: Vec<usize> = cuts.iter().map(|(cut, _)| cut.index(len)).collect();
            places.extend([0, len]);
            places.sort_unstable();
            for (number, pair) in places.windows(2).enumerate() {
                let order = cuts.get(number).map_or(7, |cut| cut.1.rotate_left(index as u32));
                pieces.push((order, index, pair[0], pair[1]));
            }
        }
        pieces.sort_unstable();
        let mut encoder = Encoder::new(k, m, len).unwrap();
        for &(_, index, start, end) in &pieces {
            encoder.add(index, &data[index][start..end], start).unwrap();
        }
        prop_assert_eq!(encoder.parity().unwrap(), encode(&data, m).unwrap());
        for &(_, index, start, end) in pieces.iter().filter(|piece| piece.2 < piece.3) {
            prop_assert!(encoder.add(index, &data[index][start..end], start).is_err());
        }
    }
}
