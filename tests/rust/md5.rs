//! MD5: every kernel against the rules of RFC 1321, and its digests.

use proptest::prelude::*;
use shardpack::{
    Error,
    hash::md5::{DIGEST_LEN, Digest, Kernel, digest_many},
    pool::Cancel,
};

use crate::{
    naive,
    vectors::{hex, make},
};

fn kernels() -> impl Iterator<Item = Kernel> {
    Kernel::ALL.into_iter().filter(|kernel| kernel.available())
}

/// Digests that are wrong before they are written.
fn many(kernel: Kernel, messages: &[&[u8]]) -> Vec<Digest> {
    let mut digests = vec![[0xAA; DIGEST_LEN]; messages.len()];
    kernel
        .digest_many(messages, &mut digests, &Cancel::new())
        .unwrap();
    digests
}

#[track_caller]
fn check_many(messages: &[&[u8]]) {
    let expected: Vec<_> = messages.iter().map(|message| naive::md5(message)).collect();
    for kernel in kernels() {
        let found = many(kernel, messages);
        let wrong = (0..messages.len()).find(|&at| found[at] != expected[at]);
        let lens: Vec<_> = messages.iter().map(|message| message.len()).collect();
        assert_eq!(wrong, None, "{kernel:?} on messages of {lens:?} bytes");
    }
}

#[test]
fn the_published_digests_hold_for_every_kernel() {
    // RFC 1321, A.5.
    let published = [
        ("", "d41d8cd98f00b204e9800998ecf8427e"),
        ("a", "0cc175b9c0f1b6a831c399e269772661"),
        ("abc", "900150983cd24fb0d6963f7d28e17f72"),
        ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
        (
            "abcdefghijklmnopqrstuvwxyz",
            "c3fcd3d76192e4007dfb496cca67e13b",
        ),
        (
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
            "d174ab98d277d9f5a5611c2c9f419d9f",
        ),
        (
            "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
            "57edf4a22be3c955ac49da2e2107b67a",
        ),
    ];
    let messages = published.map(|(message, _)| message.as_bytes());
    for kernel in kernels() {
        for ((message, digest), together) in published.iter().zip(many(kernel, &messages)) {
            let alone = many(kernel, &[message.as_bytes()]);
            assert_eq!(hex(&together), *digest, "{kernel:?} {message:?}");
            assert_eq!(hex(&alone[0]), *digest, "{kernel:?} {message:?} alone");
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
    let expected: Vec<_> = messages.iter().map(|message| naive::md5(message)).collect();
    for kernel in Kernel::ALL {
        assert_eq!(many(kernel, &messages), expected, "{kernel:?}");
    }
}

#[test]
fn every_length_up_to_three_blocks_is_right_at_every_alignment() {
    let bytes = make("noise", "a", 300);
    for len in 0..=200 {
        let messages: Vec<_> = (0..17).map(|at| &bytes[at..at + len]).collect();
        check_many(&messages);
    }
}

#[test]
fn batches_are_right_whatever_their_number() {
    let bytes = make("noise", "a", 20_000);
    for count in 0..=40 {
        let equal: Vec<_> = (0..count).map(|at| &bytes[at * 3..][..321]).collect();
        check_many(&equal);
        let mixed: Vec<_> = (0..count)
            .map(|at| &bytes[at..at + at * at * 97 % 900])
            .collect();
        check_many(&mixed);
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
fn messages_longer_than_a_stride_are_right() {
    let bytes = make("cycle", "a", (2 << 20) + 77);
    let messages = [&bytes[..], &bytes[1..], &bytes[5..1 << 20], &bytes[64..]];
    check_many(&messages);
}

#[test]
fn only_pairs_are_made() {
    let messages = [&b"a"[..], b"b", b"c"];
    for kernel in kernels() {
        let mut digests = [[7; DIGEST_LEN]; 5];
        kernel
            .digest_many(&messages, &mut digests, &Cancel::new())
            .unwrap();
        assert_eq!(digests[3..], [[7; DIGEST_LEN]; 2], "{kernel:?}");
        let mut digests = [[7; DIGEST_LEN]; 2];
        kernel
            .digest_many(&messages, &mut digests, &Cancel::new())
            .unwrap();
        assert_eq!(digests, [naive::md5(b"a"), naive::md5(b"b")], "{kernel:?}");
    }
}

#[test]
fn a_request_to_stop_is_noticed() {
    let cancel = Cancel::new();
    cancel.cancel();
    for kernel in kernels() {
        let mut digests = [[0; DIGEST_LEN]; 1];
        let result = kernel.digest_many(&[b"a"], &mut digests, &cancel);
        assert!(matches!(result, Err(Error::Interrupted)), "{kernel:?}");
    }
}

#[test]
fn what_callers_use_is_the_best_kernel() {
    let bytes = make("lines", "a", 3000);
    let messages: Vec<_> = (0..30).map(|at| &bytes[at..at * 100]).collect();
    let mut digests = [[0; DIGEST_LEN]; 30];
    digest_many(&messages, &mut digests, &Cancel::new()).unwrap();
    assert_eq!(digests.to_vec(), many(Kernel::best(), &messages));
}

proptest! {
    #[test]
    fn any_batch_agrees_with_the_rules(
        lens in proptest::collection::vec(prop_oneof![0_usize..200, 0_usize..3000], 0..60),
        offset in 0_usize..64,
    ) {
        let bytes = make("noise", "b", 3100);
        let messages: Vec<_> = lens.iter().map(|len| &bytes[offset..offset + len]).collect();
        check_many(&messages);
    }
}
