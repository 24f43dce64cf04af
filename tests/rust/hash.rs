//! All hashes by one name: one message, pieces, many messages, threads.

use proptest::prelude::*;
use shardpack::{
    Error,
    hash::{self, Algorithm, Digest, Hasher},
    pool::{self, Cancel},
};

use crate::vectors::{cut, hex, make};

fn one_by_one(algorithm: Algorithm, messages: &[&[u8]]) -> Vec<Digest> {
    messages
        .iter()
        .map(|message| hash::digest(algorithm, message))
        .collect()
}

/// Messages of all lengths, more than one task's worth.
fn messages(bytes: &[u8]) -> Vec<&[u8]> {
    let lens = (0..900).map(|number: usize| match number % 50 {
        0 => 20_000 + number,
        1 => 0,
        other => (other * 37 + number) % 500,
    });
    lens.enumerate()
        .map(|(at, len)| &bytes[at..at + len])
        .collect()
}

#[test]
fn the_empty_message_has_its_published_digest() {
    let expected = [
        (
            Algorithm::Sha256,
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
        (
            Algorithm::Blake3,
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
        ),
        (
            Algorithm::Keccak256,
            "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470",
        ),
        (
            Algorithm::Sha3_256,
            "a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a",
        ),
    ];
    assert_eq!(expected.map(|(algorithm, _)| algorithm), Algorithm::ALL);
    for (algorithm, digest) in expected {
        assert_eq!(hex(&hash::digest(algorithm, b"")), digest, "{algorithm:?}");
        assert_eq!(
            hex(&Hasher::new(algorithm).digest()),
            digest,
            "{algorithm:?}"
        );
    }
}

#[test]
fn names_lead_back_to_their_algorithms() {
    for algorithm in Algorithm::ALL {
        assert_eq!(Algorithm::of_name(algorithm.name()), Some(algorithm));
    }
    for name in ["", "SHA256", "md5", "blake3 "] {
        assert_eq!(Algorithm::of_name(name), None, "{name}");
    }
}

#[test]
fn block_lengths_are_those_of_the_standards() {
    let lens = Algorithm::ALL.map(Algorithm::block_len);
    assert_eq!(lens, [64, 64, 136, 136]);
}

#[test]
fn many_messages_have_the_digests_of_each_alone() {
    let bytes = make("noise", "m", 30_000);
    let messages = messages(&bytes);
    for algorithm in Algorithm::ALL {
        let mut digests = vec![[0; 32]; messages.len()];
        hash::digest_many(algorithm, &messages, &mut digests);
        assert!(digests == one_by_one(algorithm, &messages), "{algorithm:?}");
    }
}

#[test]
fn only_the_pairs_that_both_slices_have_are_made() {
    let messages: Vec<&[u8]> = vec![b"a", b"b", b"c"];
    for algorithm in Algorithm::ALL {
        let expected = one_by_one(algorithm, &messages);
        let mut few = [[0; 32]; 2];
        hash::digest_many(algorithm, &messages, &mut few);
        assert_eq!(few, expected[..2], "{algorithm:?}");
        let mut many = [[0xAA; 32]; 4];
        hash::digest_many_parallel(algorithm, &messages, &mut many, &Cancel::new()).unwrap();
        assert_eq!(many[..3], expected, "{algorithm:?}");
        assert_eq!(many[3], [0xAA; 32], "{algorithm:?}");
    }
}

#[test]
fn threads_do_not_change_digests() {
    let bytes = make("noise", "m", 30_000);
    let messages = messages(&bytes);
    for algorithm in Algorithm::ALL {
        let expected = one_by_one(algorithm, &messages);
        for threads in [None, Some(1), Some(2), Some(3), Some(8)] {
            let mut digests = vec![[0; 32]; messages.len()];
            let mut work =
                || hash::digest_many_parallel(algorithm, &messages, &mut digests, &Cancel::new());
            match threads {
                None => work(),
                threads => pool::install(threads, work).unwrap(),
            }
            .unwrap();
            assert!(digests == expected, "{algorithm:?} {threads:?}");
        }
    }
}

#[test]
fn one_long_message_has_one_digest_on_any_number_of_threads() {
    let bytes = make("cycle", "", (3 << 20) + 17);
    for algorithm in Algorithm::ALL {
        let expected = hash::digest(algorithm, &bytes);
        let mut hasher = Hasher::new(algorithm);
        bytes.chunks(70_001).for_each(|piece| hasher.update(piece));
        assert_eq!(hasher.digest(), expected, "{algorithm:?}");
        for threads in 1..=3 {
            let digest = pool::install(Some(threads), || hash::digest(algorithm, &bytes)).unwrap();
            assert_eq!(digest, expected, "{algorithm:?} {threads}");
        }
    }
}

#[test]
fn a_cancelled_batch_stops_with_an_error() {
    let cancel = Cancel::new();
    cancel.cancel();
    let messages: Vec<&[u8]> = vec![b"a"; 3];
    for algorithm in Algorithm::ALL {
        let mut digests = [[0; 32]; 3];
        let outcome = hash::digest_many_parallel(algorithm, &messages, &mut digests, &cancel);
        assert!(matches!(outcome, Err(Error::Interrupted)), "{algorithm:?}");
        let nothing = hash::digest_many_parallel(algorithm, &[], &mut [], &cancel);
        assert!(nothing.is_ok(), "{algorithm:?}");
    }
}

#[test]
fn a_copy_of_a_hasher_goes_its_own_way() {
    for algorithm in Algorithm::ALL {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(b"one ");
        let mut copy = hasher.clone();
        hasher.update(b"way");
        copy.update(b"other");
        assert_eq!(
            hasher.digest(),
            hash::digest(algorithm, b"one way"),
            "{algorithm:?}"
        );
        assert_eq!(
            copy.digest(),
            hash::digest(algorithm, b"one other"),
            "{algorithm:?}"
        );
    }
}

proptest! {
    #[test]
    fn pieces_give_the_digest_of_the_whole(
        len in prop_oneof![0_usize..600, 0_usize..40_000],
        cuts in prop::collection::vec(any::<u16>(), 0..10),
    ) {
        let bytes = make("noise", "p", len);
        for algorithm in Algorithm::ALL {
            let mut hasher = Hasher::new(algorithm);
            for piece in cut(&bytes, &cuts) {
                hasher.update(piece);
                // Looking does not change it.
                let _looked = hasher.digest();
            }
            prop_assert_eq!(hasher.digest(), hash::digest(algorithm, &bytes));
        }
    }

    #[test]
    fn any_batch_has_the_digests_of_each_alone(
        lens in prop::collection::vec(prop_oneof![0_usize..150, 0_usize..3000], 0..40),
        threads in 1_usize..4,
    ) {
        let bytes = make("noise", "p", 3000);
        let messages: Vec<_> = lens.iter().map(|&len| &bytes[..len]).collect();
        for algorithm in Algorithm::ALL {
            let expected = one_by_one(algorithm, &messages);
            let mut digests = vec![[0; 32]; messages.len()];
            hash::digest_many(algorithm, &messages, &mut digests);
            prop_assert_eq!(&digests, &expected);
            let mut digests = vec![[0; 32]; messages.len()];
            pool::install(Some(threads), || {
                hash::digest_many_parallel(algorithm, &messages, &mut digests, &Cancel::new())
            })
            .unwrap()
            .unwrap();
            prop_assert_eq!(digests, expected);
        }
    }
}
