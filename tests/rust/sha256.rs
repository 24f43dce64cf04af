//! SHA-256: every kernel against the reference crate and golden digests.

use proptest::prelude::*;
use serde_json::Value;
use sha2::Digest as _;
use shardpack::hash::{
    Digest,
    sha256::{Kernel, Sha256, digest, digest_many},
};

use crate::vectors::{cut, hex, json, make, number, rows, text};

/// Where the padding begins a new block, and what nodes and leaves of Merkle trees have.
const LENGTHS: [usize; 19] = [
    0, 1, 41, 54, 55, 56, 57, 63, 64, 65, 97, 119, 120, 127, 128, 181, 512, 541, 1024,
];

fn kernels() -> impl Iterator<Item = Kernel> {
    Kernel::ALL.into_iter().filter(|kernel| kernel.available())
}

fn reference(message: &[u8]) -> Digest {
    sha2::Sha256::digest(message).into()
}

/// Digests that are wrong before they are written.
fn many(kernel: Kernel, messages: &[&[u8]]) -> Vec<Digest> {
    let mut digests = vec![[0xAA; 32]; messages.len()];
    kernel.digest_many(messages, &mut digests);
    digests
}

#[track_caller]
fn check_many(messages: &[&[u8]]) {
    let expected: Vec<_> = messages.iter().map(|message| reference(message)).collect();
    for kernel in kernels() {
        let found = many(kernel, messages);
        let wrong = (0..messages.len()).find(|&at| found[at] != expected[at]);
        let lens: Vec<_> = messages.iter().map(|message| message.len()).collect();
        assert_eq!(wrong, None, "{kernel:?} on messages of {lens:?} bytes");
    }
}

/// The messages of `tests/vectors/hash/sha256.json`.
fn message(row: &Value) -> Vec<u8> {
    if let Some(unit) = row["repeat"].as_str() {
        return unit.repeat(number(row, "times") as usize).into_bytes();
    }
    if let Some(message) = row["ascii"].as_str() {
        return message.as_bytes().to_vec();
    }
    let len = number(row, "len") as usize;
    let mut bytes = Vec::with_capacity(len + 32);
    for block in 0_u64.. {
        if bytes.len() >= len {
            break;
        }
        let mut seed = text(row, "label").as_bytes().to_vec();
        seed.extend(block.to_be_bytes());
        bytes.extend(sha2::Sha256::digest(&seed));
    }
    bytes.truncate(len);
    bytes
}

#[test]
fn golden_digests_hold_for_every_kernel() {
    let file = json("hash/sha256.json");
    let rows: Vec<_> = ["fips", "generated"]
        .into_iter()
        .flat_map(|list| rows(&file, list))
        .collect();
    let messages: Vec<_> = rows.iter().map(message).collect();
    let slices: Vec<_> = messages.iter().map(Vec::as_slice).collect();
    for kernel in kernels() {
        let together = many(kernel, &slices);
        for ((row, message), together) in rows.iter().zip(&messages).zip(together) {
            let expected = text(row, "sha256");
            assert_eq!(hex(&kernel.digest(message)), expected, "{kernel:?} {row}");
            assert_eq!(hex(&together), expected, "{kernel:?} {row} in a batch");
        }
    }
}

#[test]
fn there_is_a_kernel_for_every_cpu_and_the_best_one_can_run() {
    assert!(Kernel::Scalar.available());
    assert!(Kernel::best().available());
    let mut names: Vec<_> = Kernel::ALL.map(Kernel::name).to_vec();
    names.dedup();
    assert_eq!(names.len(), Kernel::ALL.len());
}

#[test]
fn kernels_that_the_cpu_does_not_have_are_stood_in_for() {
    let bytes = make("noise", "a", 5000);
    let messages: Vec<_> = (0..40).map(|at| &bytes[at..at * 100]).collect();
    for kernel in Kernel::ALL {
        assert_eq!(kernel.digest(&bytes), reference(&bytes), "{kernel:?}");
        let expected: Vec<_> = messages.iter().map(|message| reference(message)).collect();
        assert_eq!(many(kernel, &messages), expected, "{kernel:?}");
    }
}

#[test]
fn every_length_up_to_five_blocks_is_right_for_every_kernel() {
    let bytes = make("noise", "a", 321);
    for kernel in kernels() {
        for len in 0..=320 {
            // Not aligned to anything.
            let message = &bytes[1..=len];
            assert_eq!(
                kernel.digest(message),
                reference(message),
                "{kernel:?} {len}"
            );
        }
    }
}

#[test]
fn batches_of_one_length_are_right_whatever_their_number() {
    let bytes = make("noise", "a", 40 * 1024);
    for len in LENGTHS {
        for count in 0..=40 {
            let messages: Vec<_> = (0..count).map(|at| &bytes[at * len..][..len]).collect();
            check_many(&messages);
        }
    }
}

#[test]
fn batches_of_any_lengths_are_right_whatever_their_number() {
    let bytes = make("noise", "a", 8192);
    for count in 0..=40 {
        let messages: Vec<_> = (0..count)
            .map(|at| &bytes[at..at + at * at * 97 % 900])
            .collect();
        check_many(&messages);
    }
}

#[test]
fn a_long_message_goes_on_after_short_ones_are_done() {
    let bytes = make("noise", "a", 40_000);
    for place in [0, 1, 15, 16, 20] {
        let messages: Vec<_> = (0..21)
            .map(|at| {
                if at == place {
                    &bytes[..]
                } else {
                    &bytes[at..at + 100 + at]
                }
            })
            .collect();
        check_many(&messages);
    }
}

#[test]
fn messages_of_one_length_among_others_keep_their_places() {
    let bytes = make("noise", "a", 4096);
    let lens = [7, 300].into_iter().chain([64; 35]).chain([9]);
    let lens = lens.chain([97; 50]).chain([1000, 0, 64, 64]);
    let messages: Vec<_> = lens
        .enumerate()
        .map(|(at, len)| &bytes[at..at + len])
        .collect();
    check_many(&messages);
}

#[test]
fn only_pairs_are_made() {
    let messages = [&b"a"[..], b"b", b"c"];
    for kernel in kernels() {
        let mut digests = [[7; 32]; 5];
        kernel.digest_many(&messages, &mut digests);
        assert_eq!(digests[3..], [[7; 32]; 2], "{kernel:?}");
        let mut digests = [[7; 32]; 2];
        kernel.digest_many(&messages, &mut digests);
        assert_eq!(digests, [reference(b"a"), reference(b"b")], "{kernel:?}");
    }
}

#[test]
fn a_stream_can_be_asked_at_any_point_and_goes_on() {
    let bytes = make("lines", "a", 400);
    for kernel in kernels() {
        let mut hasher = Sha256::with_kernel(kernel);
        for (at, byte) in bytes.iter().enumerate() {
            assert_eq!(hasher.digest(), reference(&bytes[..at]), "{kernel:?} {at}");
            hasher.update(&[*byte]);
            hasher.update(b"");
        }
        assert_eq!(hasher.digest(), reference(&bytes), "{kernel:?}");
    }
}

#[test]
fn what_callers_use_is_the_best_kernel() {
    let bytes = make("lines", "a", 3000);
    let messages: Vec<_> = (0..30).map(|at| &bytes[at..at * 100]).collect();
    let mut digests = [[0; 32]; 30];
    digest_many(&messages, &mut digests);
    assert_eq!(digests.to_vec(), many(Kernel::best(), &messages));
    assert_eq!(digest(&bytes), reference(&bytes));
    let mut hasher = Sha256::default();
    hasher.update(&bytes);
    assert_eq!(hasher.digest(), reference(&bytes));
}

proptest! {
    #[test]
    fn any_batch_agrees_with_the_reference(
        lens in proptest::collection::vec(0_usize..5000, 0..60),
        offset in 0_usize..64,
    ) {
        let bytes = make("noise", "b", 5100);
        let messages: Vec<_> = lens.iter().map(|len| &bytes[offset..offset + len]).collect();
        check_many(&messages);
    }

    #[test]
    fn any_batch_of_short_messages_agrees_with_the_reference(
        lens in proptest::collection::vec(
            prop_oneof![0_usize..200, Just(64), Just(97)],
            0..200,
        ),
    ) {
        let bytes = make("noise", "b", 400);
        let messages: Vec<_> =
            lens.iter().enumerate().map(|(at, len)| &bytes[at..at + len]).collect();
        check_many(&messages);
    }

    #[test]
    fn pieces_of_any_sizes_agree_with_the_whole(
        len in 0_usize..2000,
        cuts in proptest::collection::vec(any::<u16>(), 0..9),
    ) {
        let bytes = make("noise", "c", len);
        for kernel in kernels() {
            let mut hasher = Sha256::with_kernel(kernel);
            for piece in cut(&bytes, &cuts) {
                hasher.update(piece);
            }
            prop_assert_eq!(hasher.digest(), reference(&bytes), "{:?}", kernel);
        }
    }
}
