//! BLAKE3: modes and output of any length against golden digests, batches against the crate.

use proptest::prelude::*;
use serde_json::Value;
use shardpack::{
    hash::{
        Digest,
        blake3::{Blake3, Kernel, Mode, digest, digest_many},
    },
    pool,
};

use crate::vectors::{cut, hex, json, make, number, rows, text};

/// Where blocks and the chunk begin and end, and what nodes and leaves of Merkle trees have.
const LENGTHS: [usize; 17] = [
    0, 1, 41, 63, 64, 65, 97, 127, 128, 129, 181, 512, 541, 960, 1023, 1024, 1025,
];

fn kernels() -> impl Iterator<Item = Kernel> {
    Kernel::ALL.into_iter().filter(|kernel| kernel.available())
}

fn reference(message: &[u8]) -> Digest {
    *::blake3::hash(message).as_bytes()
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

/// The input of all golden digests.
fn input(len: usize) -> Vec<u8> {
    (0..251).cycle().take(len).collect()
}

/// The three modes, by the names of the golden outputs.
fn modes(file: &Value) -> [(&'static str, Mode); 3] {
    let key = text(file, "key_ascii")
        .as_bytes()
        .try_into()
        .expect("a key");
    let context = text(file, "context").to_owned();
    [
        ("hash", Mode::Plain),
        ("keyed_hash", Mode::Keyed(key)),
        ("derive_key", Mode::DeriveKey(context)),
    ]
}

fn hasher(mode: &Mode, message: &[u8]) -> Blake3 {
    let mut hasher = Blake3::new(mode);
    hasher.update(message);
    hasher
}

#[test]
fn golden_outputs_hold_in_every_mode() {
    for name in ["hash/blake3.json", "hash/blake3_extra.json"] {
        let file = json(name);
        for row in rows(&file, "cases") {
            let message = input(number(&row, "input_len") as usize);
            for (key, mode) in modes(&file) {
                let expected = text(&row, key);
                let hasher = hasher(&mode, &message);
                let mut output = vec![0; expected.len() / 2];
                hasher.read(&mut output, 0);
                let len = message.len();
                assert_eq!(hex(&output), expected, "{key} of {len} bytes");
                assert_eq!(
                    hex(&hasher.digest()),
                    expected[..64],
                    "{key} of {len} bytes"
                );
            }
            assert_eq!(hex(&digest(&message)), text(&row, "hash")[..64]);
        }
    }
}

#[test]
fn output_can_be_read_from_anywhere() {
    let file = json("hash/blake3_extra.json");
    for row in rows(&file, "xof") {
        let hasher = hasher(&Mode::Plain, &input(number(&row, "input_len") as usize));
        let mut output = vec![0; number(&row, "length") as usize];
        hasher.read(&mut output, number(&row, "offset"));
        assert_eq!(hex(&output), text(&row, "output"), "{row}");
    }
}

#[test]
fn golden_digests_hold_for_pieces() {
    let file = json("hash/blake3_extra.json");
    for row in rows(&file, "incremental") {
        let message = input(number(&row, "input_len") as usize);
        let mut rest = &message[..];
        let mut hasher = Blake3::new(&Mode::Plain);
        for size in rows(&row, "update_sizes") {
            let (piece, after) = rest.split_at(size.as_u64().expect("a size") as usize);
            hasher.update(piece);
            rest = after;
        }
        assert!(rest.is_empty());
        assert_eq!(hex(&hasher.digest()), text(&row, "hash"), "{row}");
    }
}

#[test]
fn golden_digests_hold_for_every_kernel() {
    let file = json("hash/blake3.json");
    let rows = rows(&file, "cases");
    let messages: Vec<_> = rows
        .iter()
        .map(|row| input(number(row, "input_len") as usize))
        .collect();
    // So many times that each kernel fills its lanes.
    let slices: Vec<_> = messages
        .iter()
        .map(Vec::as_slice)
        .collect::<Vec<_>>()
        .repeat(16);
    for kernel in kernels() {
        let found = many(kernel, &slices);
        for (row, digest) in rows.iter().cycle().zip(found) {
            let len = number(row, "input_len");
            assert_eq!(hex(&digest), text(row, "hash")[..64], "{kernel:?} {len}");
        }
    }
}

#[test]
fn threads_do_not_change_the_digest() {
    let message = input((3 << 20) + 5);
    let expected = reference(&message);
    for threads in 1..=4 {
        let found = pool::install(Some(threads), || {
            (digest(&message), hasher(&Mode::Plain, &message).digest())
        });
        assert_eq!(found.unwrap(), (expected, expected), "{threads} threads");
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
    let expected: Vec<_> = messages.iter().map(|message| reference(message)).collect();
    for kernel in Kernel::ALL {
        assert_eq!(many(kernel, &messages), expected, "{kernel:?}");
    }
}

#[test]
fn every_length_of_a_chunk_is_right_in_every_lane() {
    let bytes = make("noise", "a", 1200);
    for len in 0..=1030 {
        // All of one length; then with one message of as many blocks but one byte less or more.
        let same: Vec<_> = (0..17).map(|at| &bytes[at..at + len]).collect();
        check_many(&same);
        let mut other = same.clone();
        other[len % 16] = &bytes[3..3 + (len ^ 1)];
        check_many(&other);
    }
}

#[test]
fn batches_of_one_length_are_right_whatever_their_number() {
    let bytes = make("noise", "a", 40 * 1025);
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
            .map(|at| &bytes[at..at + at * at * 97 % 1100])
            .collect();
        check_many(&messages);
    }
}

#[test]
fn only_pairs_are_made() {
    let messages = [&b"a"[..], b"b", b"c", b"d"];
    for kernel in kernels() {
        let mut digests = [[7; 32]; 6];
        kernel.digest_many(&messages, &mut digests);
        assert_eq!(digests[4..], [[7; 32]; 2], "{kernel:?}");
        let mut digests = [[7; 32]; 3];
        kernel.digest_many(&messages, &mut digests);
        let expected = [b"a", b"b", b"c"].map(|message| reference(message));
        assert_eq!(digests, expected, "{kernel:?}");
    }
}

#[test]
fn what_callers_use_is_the_best_kernel() {
    let bytes = make("lines", "a", 3000);
    let messages: Vec<_> = (0..30).map(|at| &bytes[at..at * 100]).collect();
    let mut digests = [[0; 32]; 30];
    digest_many(&messages, &mut digests);
    assert_eq!(digests.to_vec(), many(Kernel::best(), &messages));
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
            prop_oneof![0_usize..200, Just(64), Just(97), 0_usize..1200],
            0..200,
        ),
    ) {
        let bytes = make("noise", "b", 1400);
        let messages: Vec<_> =
            lens.iter().enumerate().map(|(at, len)| &bytes[at..at + len]).collect();
        check_many(&messages);
    }

    #[test]
    fn pieces_of_any_sizes_agree_with_the_whole(
        len in 0_usize..5000,
        cuts in proptest::collection::vec(any::<u16>(), 0..9),
    ) {
        let bytes = make("noise", "c", len);
        let mut hasher = Blake3::new(&Mode::Plain);
        for piece in cut(&bytes, &cuts) {
            hasher.update(piece);
        }
        prop_assert_eq!(hasher.digest(), reference(&bytes));
    }
}
