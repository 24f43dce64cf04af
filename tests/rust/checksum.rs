//! CRC32C against the bitwise rule and published values.

use proptest::prelude::*;
use shardpack::{
    checksum::{combine, crc32c, crc32c_parallel},
    pool,
};

use crate::{
    naive,
    vectors::{data, make},
};

#[test]
fn published_values_hold() {
    let ascending: Vec<u8> = (0..32).collect();
    let descending: Vec<u8> = (0..32).rev().collect();
    let cases: [(&[u8], u32); 6] = [
        (b"", 0),
        (b"123456789", 0xE306_9283),
        (&[0; 32], 0x8A91_36AA),
        (&[0xFF; 32], 0x62A8_AB43),
        (&ascending, 0x46DD_794E),
        (&descending, 0x113F_DB5C),
    ];
    for (bytes, expected) in cases {
        assert_eq!(crc32c(bytes, 0), expected, "{bytes:?}");
        assert_eq!(naive::crc32c(bytes, 0), expected, "{bytes:?}");
    }
}

#[test]
fn every_length_and_alignment_agrees_with_the_bitwise_rule() {
    let bytes = make("noise", "a", 300);
    for start in 0..16 {
        for end in start..bytes.len() {
            let part = &bytes[start..end];
            assert_eq!(crc32c(part, 0), naive::crc32c(part, 0), "{start}..{end}");
        }
    }
}

#[test]
fn nothing_changes_nothing() {
    for crc in [0, 1, 0x8000_0000, u32::MAX] {
        assert_eq!(crc32c(b"", crc), crc);
        assert_eq!(combine(crc, 0, 0), crc);
        assert_eq!(crc32c_parallel(b"", crc), crc);
    }
}

#[test]
fn combining_does_not_depend_on_the_grouping_even_above_4_gib() {
    let (a, b, c) = (0x1234_5678, 0x9ABC_DEF0, 0x0F0F_F0F0);
    for (len_b, len_c) in [(1, 1), (1 << 32, 7), ((5 << 30) + 3, (1 << 40) + 1)] {
        assert_eq!(
            combine(combine(a, b, len_b), c, len_c),
            combine(a, combine(b, c, len_c), len_b + len_c),
            "{len_b} {len_c}"
        );
    }
}

#[test]
fn threads_do_not_change_the_checksum() {
    let bytes = make("cycle", "", (9 << 20) + 5);
    for init in [0, 0xE306_9283] {
        let expected = crc32c(&bytes, init);
        assert_eq!(crc32c_parallel(&bytes, init), expected);
        for threads in 1..=4 {
            let crc = pool::install(Some(threads), || crc32c_parallel(&bytes, init)).unwrap();
            assert_eq!(crc, expected, "{threads} threads");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_agree_with_the_bitwise_rule(bytes in data(5000), init: u32) {
        prop_assert_eq!(crc32c(&bytes, init), naive::crc32c(&bytes, init));
    }

    #[test]
    fn continuing_and_combining_give_the_checksum_of_the_whole(
        bytes in data(5000), place: prop::sample::Index, init: u32,
    ) {
        let (a, b) = bytes.split_at(place.index(bytes.len() + 1));
        let whole = crc32c(&bytes, init);
        prop_assert_eq!(crc32c(b, crc32c(a, init)), whole);
        prop_assert_eq!(combine(crc32c(a, init), crc32c(b, 0), b.len() as u64), whole);
    }
}
