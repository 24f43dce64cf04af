//! Keccak-256 and SHA3-256: every kernel against a slow one, the reference crate and golden digests.

use proptest::prelude::*;
use sha3::Digest as _;
use shardpack::hash::{
    Digest,
    keccak::{Keccak, Kernel, Padding, RATE, digest, digest_many},
};

use crate::vectors::{cut, hex, json, make, number, rows, text};

const PADDINGS: [Padding; 2] = [Padding::Keccak, Padding::Sha3];

/// Where words and blocks begin and end, and where one byte is left for the padding.
const LENGTHS: [usize; 21] = [
    0, 1, 7, 8, 9, 63, 64, 127, 128, 134, 135, 136, 137, 143, 144, 270, 271, 272, 273, 408, 1000,
];

/// A state, bit by bit: `state[x][y][z]`.
type Bits = [[[bool; 64]; 5]; 5];

/// Algorithm 5 of FIPS 202.
fn round_constant_bit(t: usize) -> bool {
    let mut register = [true, false, false, false, false, false, false, false, false];
    for _ in 0..t % 255 {
        register.rotate_right(1);
        register[0] = false;
        for place in [0, 4, 5, 6] {
            register[place] ^= register[8];
        }
    }
    register[0]
}

/// Algorithms 1 to 7 of FIPS 202, bit by bit.
fn naive_permutation(state: &mut Bits) {
    for round in 0..24 {
        let old = *state;
        let parity = |x: usize, z: usize| (0..5).fold(false, |sum, y| sum ^ old[x % 5][y][z % 64]);
        for (x, y, z) in places() {
            state[x][y][z] ^= parity(x + 4, z) ^ parity(x + 1, z + 63);
        }
        let old = *state;
        let (mut x, mut y) = (1, 0);
        for t in 0..24 {
            for z in 0..64 {
                state[x][y][(z + (t + 1) * (t + 2) / 2) % 64] = old[x][y][z];
            }
            (x, y) = (y, (2 * x + 3 * y) % 5);
        }
        let old = *state;
        for (x, y, z) in places() {
            state[x][y][z] = old[(x + 3 * y) % 5][x][z];
        }
        let old = *state;
        for (x, y, z) in places() {
            state[x][y][z] ^= !old[(x + 1) % 5][y][z] & old[(x + 2) % 5][y][z];
        }
        for bit in 0..7 {
            state[0][0][(1 << bit) - 1] ^= round_constant_bit(bit + 7 * round);
        }
    }
}

fn places() -> impl Iterator<Item = (usize, usize, usize)> {
    (0..1600).map(|place| (place / 64 % 5, place / 320, place % 64))
}

/// The sponge with an output of 256 bits.
fn naive(padding: Padding, message: &[u8]) -> Digest {
    let mut padded = message.to_vec();
    padded.push(padding as u8);
    padded.resize(padded.len().next_multiple_of(RATE), 0);
    *padded.last_mut().unwrap() |= 0x80;
    let mut state = [[[false; 64]; 5]; 5];
    for block in padded.chunks(RATE) {
        for (place, (x, y, z)) in places().enumerate().take(8 * RATE) {
            state[x][y][z] ^= block[place / 8] >> (place % 8) & 1 == 1;
        }
        naive_permutation(&mut state);
    }
    let mut digest = [0; 32];
    for (place, (x, y, z)) in places().enumerate().take(256) {
        digest[place / 8] |= u8::from(state[x][y][z]) << (place % 8);
    }
    digest
}

fn reference(padding: Padding, message: &[u8]) -> Digest {
    match padding {
        Padding::Keccak => sha3::Keccak256::digest(message).into(),
        Padding::Sha3 => sha3::Sha3_256::digest(message).into(),
    }
}

fn kernels() -> Vec<Kernel> {
    let mut kernels = Kernel::ALL.to_vec();
    kernels.retain(|kernel| kernel.available());
    kernels
}

fn assert_batch(kernel: Kernel, padding: Padding, messages: &[&[u8]]) {
    let mut digests = vec![[0xAA; 32]; messages.len()];
    kernel.digest_many(padding, messages, &mut digests);
    for (number, (message, digest)) in messages.iter().zip(&digests).enumerate() {
        let expected = reference(padding, message);
        assert_eq!(
            *digest, expected,
            "{kernel:?} {padding:?}, message {number}"
        );
    }
}

#[test]
fn golden_digests_hold() {
    let file = json("hash/keccak256.json");
    for row in rows(&file, "known") {
        let message = text(&row, "ascii").as_bytes();
        let expected = text(&row, "keccak256");
        assert_eq!(hex(&digest(Padding::Keccak, message)), expected, "{row}");
    }
    for row in rows(&file, "generated") {
        let message = drbg(text(&row, "label"), number(&row, "len") as usize);
        for (padding, key) in PADDINGS.into_iter().zip(["keccak256", "sha3_256"]) {
            let expected = text(&row, key);
            for kernel in kernels() {
                assert_eq!(
                    hex(&kernel.digest(padding, &message)),
                    expected,
                    "{kernel:?} {row}"
                );
            }
        }
    }
}

/// The byte stream that the vectors name by a label.
fn drbg(label: &str, len: usize) -> Vec<u8> {
    use sha2::Sha256;

    let block = |number: u64| {
        let mut seed = label.as_bytes().to_vec();
        seed.extend(number.to_be_bytes());
        Sha256::digest(seed)
    };
    let mut bytes: Vec<u8> = (0..=len as u64 / 32).flat_map(block).collect();
    bytes.truncate(len);
    bytes
}

#[test]
fn every_kernel_agrees_with_the_rule_of_the_standard() {
    let bytes = make("noise", "k", 300);
    for len in [0, 1, 8, 135, 136, 137, 271, 272] {
        for padding in PADDINGS {
            let expected = naive(padding, &bytes[..len]);
            assert_eq!(reference(padding, &bytes[..len]), expected, "{len}");
            for kernel in kernels() {
                assert_eq!(
                    kernel.digest(padding, &bytes[..len]),
                    expected,
                    "{kernel:?} {len}"
                );
            }
        }
    }
}

#[test]
fn every_length_and_alignment_agrees_with_the_reference() {
    let bytes = make("noise", "k", 600);
    for kernel in kernels() {
        for len in 0..420 {
            for start in [0, 1, 7, 33] {
                let message = &bytes[start..start + len];
                let digest = kernel.digest(Padding::Keccak, message);
                let expected = reference(Padding::Keccak, message);
                assert_eq!(digest, expected, "{kernel:?} {start}+{len}");
            }
        }
    }
}

#[test]
fn a_kernel_that_the_cpu_lacks_gives_the_same_digests() {
    let bytes = make("noise", "k", 300);
    let messages: Vec<&[u8]> = bytes.chunks(7).collect();
    for kernel in Kernel::ALL {
        let digest = kernel.digest(Padding::Sha3, &bytes);
        assert_eq!(digest, reference(Padding::Sha3, &bytes), "{kernel:?}");
        assert_batch(kernel, Padding::Sha3, &messages);
    }
}

#[test]
fn the_best_kernel_is_available_and_names_are_unlike() {
    assert!(Kernel::best().available());
    assert!(Kernel::Portable.available());
    for (number, kernel) in Kernel::ALL.iter().enumerate() {
        for other in &Kernel::ALL[..number] {
            assert_ne!(kernel.name(), other.name());
        }
    }
}

#[test]
fn batches_of_every_size_fill_lanes_and_leave_some_idle() {
    let bytes = make("noise", "k", 2000);
    for kernel in kernels() {
        for padding in PADDINGS {
            for count in 0..=20 {
                for len in LENGTHS {
                    let messages: Vec<_> = (0..count).map(|at| &bytes[at..at + len]).collect();
                    assert_batch(kernel, padding, &messages);
                }
            }
        }
    }
}

#[test]
fn a_lane_takes_the_next_message_while_others_go_on() {
    let bytes = make("noise", "k", 40_000);
    // Long ones early, late and alone among short ones.
    for long in [0, 1, 5, 11, 12, 13, 23] {
        let lens = (0..24).map(|at| if at == long { 30_000 } else { LENGTHS[at % 21] });
        let messages: Vec<_> = lens
            .enumerate()
            .map(|(at, len)| &bytes[at..at + len])
            .collect();
        for kernel in kernels() {
            assert_batch(kernel, Padding::Keccak, &messages);
        }
    }
}

#[test]
fn only_the_pairs_that_both_slices_have_are_made() {
    let messages: Vec<&[u8]> = vec![b"a"; 20];
    for kernel in kernels() {
        let mut digests = [[0xAA; 32]; 22];
        kernel.digest_many(Padding::Keccak, &messages, &mut digests);
        assert_eq!(digests[20..], [[0xAA; 32]; 2], "{kernel:?}");
        let mut digests = [[0xAA; 32]; 3];
        kernel.digest_many(Padding::Keccak, &messages, &mut digests);
        assert_eq!(digests, [reference(Padding::Keccak, b"a"); 3], "{kernel:?}");
    }
}

#[test]
fn a_digest_does_not_end_the_message() {
    let bytes = make("noise", "k", 700);
    for padding in PADDINGS {
        let mut hasher = Keccak::new(padding);
        for end in 0..bytes.len() {
            assert_eq!(
                hasher.digest(),
                reference(padding, &bytes[..end]),
                "{padding:?} {end}"
            );
            hasher.update(&bytes[end..=end]);
        }
    }
}

proptest! {
    #[test]
    fn pieces_give_the_digest_of_the_whole(
        len in 0_usize..2000, cuts in prop::collection::vec(any::<u16>(), 0..8),
    ) {
        let bytes = make("noise", "k", len);
        for padding in PADDINGS {
            let mut hasher = Keccak::new(padding);
            for piece in cut(&bytes, &cuts) {
                hasher.update(piece);
            }
            prop_assert_eq!(hasher.digest(), reference(padding, &bytes));
        }
    }

    #[test]
    fn any_mix_of_lengths_gives_the_digests_of_the_messages(
        places in prop::collection::vec((0_usize..50, prop_oneof![0_usize..300, 0_usize..5000]), 0..40),
    ) {
        let bytes = make("noise", "k", 5050);
        let messages: Vec<_> = places.iter().map(|&(at, len)| &bytes[at..at + len]).collect();
        for kernel in kernels() {
            assert_batch(kernel, Padding::Keccak, &messages);
        }
        let mut digests = vec![[0; 32]; messages.len()];
        digest_many(Padding::Sha3, &messages, &mut digests);
        let expected: Vec<_> = messages.iter().map(|one| reference(Padding::Sha3, one)).collect();
        prop_assert_eq!(digests, expected);
    }
}
