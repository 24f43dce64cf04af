//! CRC32C against the bitwise rule, published values, recorded vectors and another implementation.

use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use shardpack::{
    Error,
    checksum::{Kernel, combine, crc32c, crc32c_many, crc32c_many_parallel, crc32c_parallel},
    pool::{self, Cancel},
};

use crate::{
    naive,
    vectors::{self, data, make, number, rows, text, unhex},
};

/// The bytes that the vectors name by a label instead of carrying them.
fn drbg(label: &str, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 32);
    for counter in 0_u64.. {
        if bytes.len() >= len {
            break;
        }
        let digest = Sha256::new()
            .chain_update(label)
            .chain_update(counter.to_be_bytes());
        bytes.extend(digest.finalize());
    }
    bytes.truncate(len);
    bytes
}

fn crc_of(row: &serde_json::Value, key: &str) -> u32 {
    u32::from_str_radix(text(row, key), 16).expect("hexadecimal digits")
}

/// The checksums of all beginnings of `bytes`, the empty one first, bit by bit.
fn of_beginnings(bytes: &[u8], init: u32) -> Vec<u32> {
    let mut crcs = vec![init];
    for byte in bytes {
        crcs.push(naive::crc32c(&[*byte], crcs[crcs.len() - 1]));
    }
    crcs
}

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
fn recorded_checksums_hold_with_every_kernel() {
    let file = vectors::json("hash/crc32c.json");
    for kernel in Kernel::available() {
        for row in rows(&file, "rfc3720") {
            let crc = kernel.crc32c(&unhex(text(&row, "msg")), 0);
            assert_eq!(crc, crc_of(&row, "crc32c"), "{kernel:?} {row}");
        }
        for row in rows(&file, "generated") {
            let bytes = drbg(text(&row, "label"), number(&row, "len") as usize);
            let crc = kernel.crc32c(&bytes, 0);
            assert_eq!(crc, crc_of(&row, "crc32c"), "{kernel:?} {row}");
            // As TFRecord, Snappy and LevelDB store it.
            let masked = crc.rotate_right(15).wrapping_add(0xA282_EAD8);
            assert_eq!(masked, crc_of(&row, "masked"), "{kernel:?} {row}");
        }
        for row in rows(&file, "continue") {
            let crc = kernel.crc32c(&unhex(text(&row, "next")), crc_of(&row, "crc_so_far"));
            assert_eq!(crc, crc_of(&row, "crc32c"), "{kernel:?} {row}");
        }
    }
}

#[test]
fn recorded_joined_checksums_hold() {
    let file = vectors::json("hash/crc32c.json");
    for row in rows(&file, "combine") {
        let crc = combine(
            crc_of(&row, "crc_a"),
            crc_of(&row, "crc_b"),
            number(&row, "len_b"),
        );
        assert_eq!(crc, crc_of(&row, "crc_ab"), "{row}");
    }
}

#[test]
fn every_kernel_agrees_with_the_bitwise_rule_at_every_length_and_alignment() {
    // Around the ends of rounds and blocks of all kernels, and where alignment begins to matter.
    let long = [
        4_095, 4_096, 4_097, 4_160, 4_223, 5_000, 6_144, 8_704, 12_799, 12_800, 12_801, 13_055,
        15_359, 15_360, 15_361, 15_600, 16_384, 19_455, 19_456, 19_457, 25_600, 27_000, 30_720,
        38_401, 46_081, 50_000,
    ];
    let mut bytes = vec![0_u8; 51_000 + 128];
    // So that `start` is the distance from a line of the cache.
    let line = bytes.as_ptr().align_offset(64);
    let bytes = &mut bytes[line..line + 51_000];
    bytes.copy_from_slice(&make("noise", "every kernel", 51_000));
    for start in 0..64 {
        let bytes = &bytes[start..];
        let init = (start as u32).wrapping_mul(0x9E37_79B9);
        let expected = of_beginnings(bytes, init);
        // Long inputs from some starts, for the sake of the time it takes.
        let long = long.into_iter().filter(|_| start % 5 == 0);
        for len in (start % 7..3_000).step_by(7).chain(long) {
            for kernel in Kernel::available() {
                let crc = kernel.crc32c(&bytes[..len], init);
                assert_eq!(crc, expected[len], "{kernel:?}: {len} bytes from {start}");
            }
            assert_eq!(
                crc32c(&bytes[..len], init),
                expected[len],
                "{len} from {start}"
            );
        }
    }
}

#[test]
fn every_kernel_agrees_with_another_implementation_on_long_inputs() {
    let bytes = make("cycle", "", (1 << 20) + 77);
    for len in [262_143, 262_144, 262_145, 300_001, 1 << 20] {
        for start in [0, 7, 64, 77] {
            let part = &bytes[start..start + len];
            let expected = ::crc32c::crc32c(part);
            for kernel in Kernel::available() {
                assert_eq!(
                    kernel.crc32c(part, 0),
                    expected,
                    "{kernel:?}: {len} from {start}"
                );
            }
        }
    }
}

#[test]
fn bytes_around_the_data_do_not_count() {
    for len in [1, 7, 8, 100, 127, 128, 129, 1_000, 5_000, 20_000] {
        for kernel in Kernel::available() {
            let mut bytes = vec![0x55; len + 200];
            let before = kernel.crc32c(&bytes[100..100 + len], 0);
            bytes[..100].fill(0xAA);
            bytes[100 + len..].fill(0xAA);
            assert_eq!(
                kernel.crc32c(&bytes[100..100 + len], 0),
                before,
                "{kernel:?} {len}"
            );
        }
    }
}

#[test]
fn kernels_have_names_of_their_own_and_the_best_comes_last() {
    let available: Vec<_> = Kernel::available().collect();
    assert_eq!(available[0], Kernel::Portable);
    assert_eq!(available.last(), Some(&Kernel::best()));
    let mut names = Kernel::ALL.map(Kernel::name).to_vec();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Kernel::ALL.len());
}

#[test]
fn a_kernel_that_is_not_there_gives_way() {
    let there: Vec<_> = Kernel::available().collect();
    let absent = Kernel::ALL
        .into_iter()
        .find(|kernel| !there.contains(kernel));
    // No CPU has the kernels of two architectures.
    let absent = absent.expect("an absent kernel");
    assert_eq!(absent.crc32c(b"123456789", 0), 0xE306_9283);
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
fn combining_repeats_where_the_powers_of_x_do() {
    // 2^31 - 1 is odd, so that many bytes bring every power of x back to where it was.
    let period = (1 << 31) - 1;
    for len in [0, 1, 8, 12_345, period - 1, period, u64::MAX - period] {
        assert_eq!(
            combine(0xE306_9283, 7, len),
            combine(0xE306_9283, 7, len + period),
            "{len}"
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

#[test]
fn many_messages_have_the_checksums_of_each() {
    let bytes = make("noise", "many", 9 << 20);
    // From nothing to one that threads share.
    let lens = [
        0,
        1,
        63,
        64,
        1_000,
        4_096,
        70_000,
        300_000,
        0,
        5 << 20,
        4_096,
    ];
    let mut messages = Vec::new();
    for turn in 0..300 {
        let len = lens[turn % lens.len()].min(if turn > 40 { 4_096 } else { usize::MAX });
        messages.push(&bytes[turn..turn + len]);
    }
    let expected: Vec<u32> = messages.iter().map(|message| crc32c(message, 0)).collect();
    let mut crcs = vec![1; messages.len()];
    crc32c_many(&messages, &mut crcs);
    assert_eq!(crcs, expected);
    for threads in 1..=4 {
        crcs.fill(1);
        let job = || crc32c_many_parallel(&messages, &mut crcs, &Cancel::new());
        pool::install(Some(threads), job).unwrap().unwrap();
        assert_eq!(crcs, expected, "{threads} threads");
    }
    crcs.fill(1);
    crc32c_many_parallel(&messages, &mut crcs, &Cancel::new()).unwrap();
    assert_eq!(crcs, expected);
}

#[test]
fn only_the_pairs_of_both_slices_are_made() {
    let messages: [&[u8]; 3] = [b"a", b"b", b"c"];
    let due = messages.map(|message| naive::crc32c(message, 0));
    let (mut fewer, mut more) = ([1; 2], [1; 4]);
    crc32c_many(&messages, &mut fewer);
    crc32c_many(&messages, &mut more);
    assert_eq!(
        (fewer.as_slice(), more),
        (&due[..2], [due[0], due[1], due[2], 1])
    );
    let (mut fewer, mut more) = ([1; 2], [1; 4]);
    crc32c_many_parallel(&messages, &mut fewer, &Cancel::new()).unwrap();
    crc32c_many_parallel(&messages, &mut more, &Cancel::new()).unwrap();
    assert_eq!(
        (fewer.as_slice(), more),
        (&due[..2], [due[0], due[1], due[2], 1])
    );
}

#[test]
fn a_batch_can_be_cancelled() {
    let cancel = Cancel::new();
    cancel.cancel();
    let messages: [&[u8]; 2] = [b"a", b"b"];
    let refused = crc32c_many_parallel(&messages, &mut [0; 2], &cancel);
    assert_eq!(refused, Err(Error::Interrupted));
    assert_eq!(crc32c_many_parallel(&[], &mut [], &cancel), Ok(()));
}

proptest! {
    #[test]
    fn any_bytes_agree_with_the_bitwise_rule(bytes in data(5000), init: u32) {
        prop_assert_eq!(crc32c(&bytes, init), naive::crc32c(&bytes, init));
    }

    #[test]
    fn every_kernel_agrees_with_another_implementation(
        bytes in data(100_000), start in 0_usize..70, init: u32,
    ) {
        let bytes = &bytes[start.min(bytes.len())..];
        let expected = ::crc32c::crc32c_append(init, bytes);
        for kernel in Kernel::available() {
            prop_assert_eq!(kernel.crc32c(bytes, init), expected, "{:?}", kernel);
        }
    }

    #[test]
    fn combining_agrees_with_another_implementation(a: u32, b: u32, len: u64) {
        prop_assert_eq!(combine(a, b, len), ::crc32c::crc32c_combine(a, b, len as usize));
    }

    #[test]
    fn combining_counts_the_bytes_of_the_second_part(a: u32, len in 0_usize..3000) {
        prop_assert_eq!(combine(a, crc32c(&vec![0; len], 0), len as u64), crc32c(&vec![0; len], a));
    }

    #[test]
    fn continuing_and_combining_give_the_checksum_of_the_whole(
        bytes in data(5000), place: prop::sample::Index, init: u32,
    ) {
        let (a, b) = bytes.split_at(place.index(bytes.len() + 1));
        let whole = crc32c(&bytes, init);
        for kernel in Kernel::available() {
            prop_assert_eq!(kernel.crc32c(b, kernel.crc32c(a, init)), whole, "{:?}", kernel);
        }
        prop_assert_eq!(combine(crc32c(a, init), crc32c(b, 0), b.len() as u64), whole);
    }
}
