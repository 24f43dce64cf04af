//! Reed-Solomon: recorded codewords, the polynomial rule, and the crate that has the same code.

use proptest::prelude::*;
use reed_solomon_erasure::galois_8::ReedSolomon;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use shardpack::{
    Error, Result, pool,
    pool::Cancel,
    rs::{self, field},
};

use crate::{
    naive,
    vectors::{hex, json, make, number, rows, sha256, text, unhex},
};

pub fn shards_of(row: &Value, key: &str) -> Vec<Vec<u8>> {
    let shards = row[key].as_array().expect(key).iter();
    shards
        .map(|one| unhex(one.as_str().expect("hex")))
        .collect()
}

/// Shards that may be lost.
fn holes_of(row: &Value, key: &str) -> Vec<Option<Vec<u8>>> {
    let shards = row[key].as_array().expect(key).iter();
    shards.map(|one| one.as_str().map(unhex)).collect()
}

/// `count` shards of noise.
pub fn noise(seed: &str, count: usize, len: usize) -> Vec<Vec<u8>> {
    let shard = |index| make("noise", &format!("{seed}/{index}"), len);
    (0..count).map(shard).collect()
}

pub fn slices(shards: &[Vec<u8>]) -> Vec<&[u8]> {
    shards.iter().map(Vec::as_slice).collect()
}

pub fn slices_mut(shards: &mut [Vec<u8>]) -> Vec<&mut [u8]> {
    shards.iter_mut().map(Vec::as_mut_slice).collect()
}

pub fn encode(data: &[Vec<u8>], m: usize) -> Result<Vec<Vec<u8>>> {
    let mut parity = vec![vec![0xAA; data.first().map_or(0, Vec::len)]; m];
    rs::encode(&slices(data), &mut slices_mut(&mut parity), &Cancel::new())?;
    Ok(parity)
}

/// The shards with those in `lost` taken out.
fn without<'a>(shards: &'a [Vec<u8>], lost: &[usize]) -> Vec<Option<&'a [u8]>> {
    let keep =
        |(index, shard): (usize, &'a Vec<u8>)| (!lost.contains(&index)).then_some(shard.as_slice());
    shards.iter().enumerate().map(keep).collect()
}

fn reconstruct(shards: &[Option<&[u8]>], k: usize, wanted: &[usize]) -> Result<Vec<Vec<u8>>> {
    let len = shards
        .iter()
        .flatten()
        .next()
        .map_or(0, |shard| shard.len());
    let mut outputs = vec![vec![0xAA; len]; wanted.len()];
    let cancel = Cancel::new();
    rs::reconstruct(shards, k, wanted, &mut slices_mut(&mut outputs), &cancel)?;
    Ok(outputs)
}

fn verify(shards: &[Vec<u8>], k: usize) -> bool {
    rs::verify(&slices(shards), k, &Cancel::new()).expect("shards")
}

pub fn drbg(label: &str, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for counter in 0_u64.. {
        if bytes.len() >= len {
            break;
        }
        bytes.extend(
            Sha256::new()
                .chain_update(label)
                .chain_update(counter.to_be_bytes())
                .finalize(),
        );
    }
    bytes.truncate(len);
    bytes
}

#[test]
fn field_and_matrices_are_the_recorded_ones() {
    let file = json("rs/matrix.json");
    for row in rows(&file, "parity_rows") {
        let (k, m) = (number(&row, "k") as usize, number(&row, "m") as usize);
        let matrix = field::parity_rows(k, m);
        let expected = shards_of(&row, "rows");
        assert_eq!((matrix.rows(), matrix.columns()), (m, k));
        for (index, expected) in expected.iter().enumerate() {
            assert_eq!(hex(matrix.row(index)), hex(expected), "{k}+{m} row {index}");
        }
    }
    for a in 0..=255 {
        for b in 0..=255 {
            let product = naive::gf_mul(a, b);
            assert_eq!(field::mul(a, b), product);
            let table = &field::NIBBLES[usize::from(a)];
            let nibbles = (usize::from(b & 15), usize::from(16 + (b >> 4)));
            assert_eq!(table[nibbles.0] ^ table[nibbles.1], product);
            let matrix = field::AFFINE[usize::from(a)].to_be_bytes();
            let bit = |row: usize| u8::from((matrix[row] & b).count_ones() % 2 == 1) << row;
            assert_eq!((0..8).map(bit).sum::<u8>(), product, "{a} {b}");
        }
        assert_eq!(field::mul(a, field::inv(a)), u8::from(a > 0));
    }
}

#[test]
fn every_row_of_every_code_follows_the_formula() {
    for k in [1, 2, 3, 7, 16, 23, 100, 128, 200, 255] {
        let matrix = field::parity_rows(k, (256 - k).min(9));
        let mut unit = vec![vec![0; k]; k];
        for (index, shard) in unit.iter_mut().enumerate() {
            shard[index] = 1;
        }
        for row in 0..matrix.rows().min(3) {
            if k < 30 {
                assert_eq!(matrix.row(row), naive::shard(&unit, k + row), "{k} {row}");
            }
        }
        // The coefficients of a row sum up to 1: the polynomial of a constant is that constant.
        for row in 0..matrix.rows() {
            let sum = matrix.row(row).iter().fold(0, |sum, one| sum ^ one);
            assert_eq!(sum, 1, "{k} {row}");
        }
        for index in [0, k / 2, k - 1] {
            let column = field::parity_column(k, matrix.rows(), index as u8);
            let expected: Vec<u8> = (0..matrix.rows())
                .map(|row| matrix.row(row)[index])
                .collect();
            assert_eq!(
                (column.columns(), column.coefficients()),
                (1, &expected[..])
            );
        }
    }
}

#[test]
fn recorded_codewords_are_made_and_verified() {
    for row in rows(&json("rs/encode.json"), "cases") {
        let (data, parity) = (shards_of(&row, "data"), shards_of(&row, "parity"));
        assert_eq!(encode(&data, parity.len()).unwrap(), parity, "{row}");
        let all = [data.clone(), parity].concat();
        assert!(verify(&all, data.len()));
        for index in 0..all.len() {
            let mut wrong = all.clone();
            *wrong[index].last_mut().unwrap() ^= 0x40;
            assert!(!verify(&wrong, data.len()), "{index}");
        }
    }
}

#[test]
fn recorded_codewords_of_all_lengths_and_sizes_are_made() {
    for name in ["rs/lengths.json", "rs/large.json"] {
        for row in rows(&json(name), "cases") {
            let (k, m) = (number(&row, "k") as usize, number(&row, "m") as usize);
            let len = number(&row, "shard_len") as usize;
            let label = text(&row, "data_labels");
            let shard = |index: usize| drbg(&label.replace("<i>", &index.to_string()), len);
            let data: Vec<Vec<u8>> = (0..k).map(shard).collect();
            let parity = encode(&data, m).unwrap();
            for (shard, expected) in parity.iter().zip(rows(&row, "parity_sha256")) {
                assert_eq!(sha256(shard), expected.as_str().unwrap(), "{k}+{m} {len}");
            }
            assert_eq!(sha256(&parity.concat()), text(&row, "all_parity_sha256"));
            assert!(verify(&[data, parity].concat(), k));
        }
    }
}

#[test]
fn recorded_losses_are_repaired_or_refused() {
    for row in rows(&json("rs/reconstruct.json"), "cases") {
        let k = number(&row, "k") as usize;
        let shards = shards_of(&row, "shards");
        let losses = |key| {
            let sets = row[key].as_array().expect(key).iter();
            sets.map(|set| {
                let indexes = set.as_array().unwrap().iter();
                indexes
                    .map(|one| one.as_u64().unwrap() as usize)
                    .collect::<Vec<_>>()
            })
            .collect::<Vec<_>>()
        };
        for lost in losses("recoverable_losses") {
            let made = reconstruct(&without(&shards, &lost), k, &lost).unwrap();
            let expected: Vec<_> = lost.iter().map(|&index| shards[index].clone()).collect();
            assert_eq!(made, expected, "{lost:?}");
        }
        for lost in losses("unrecoverable_losses") {
            let refused = reconstruct(&without(&shards, &lost), k, &lost);
            assert!(
                matches!(refused, Err(Error::ComputationFailed(_))),
                "{refused:?}"
            );
        }
    }
}

#[test]
fn nothing_is_made_up_when_too_few_shards_are_left() {
    let data = noise("few", 4, 100);
    let all = [data.clone(), encode(&data, 3).unwrap()].concat();
    let lost = [0, 2, 4, 6];
    let mut output = vec![0xAA; 100];
    let refused = rs::reconstruct(
        &without(&all, &lost),
        4,
        &[2],
        &mut [&mut output],
        &Cancel::new(),
    );
    assert_eq!(
        refused.unwrap_err().to_string(),
        "3 of 7 shards are left, at least 4 are needed"
    );
    assert_eq!(output, vec![0xAA; 100]);
}

#[test]
fn recorded_changes_update_the_parity() {
    for row in rows(&json("rs/update.json"), "cases") {
        let k = number(&row, "k") as usize;
        let mut parity = shards_of(&row, "parity_before");
        rs::update(
            k,
            number(&row, "index") as usize,
            &unhex(text(&row, "old")),
            &unhex(text(&row, "new")),
            &mut slices_mut(&mut parity),
            &Cancel::new(),
        )
        .unwrap();
        assert_eq!(parity, shards_of(&row, "parity_after"));
    }
}

#[test]
fn recorded_mistakes_are_refused() {
    let class = |error: Error| match error {
        Error::InvalidInput(_) => "InvalidInput",
        Error::ComputationFailed(_) => "ComputationFailed",
        other => panic!("{other:?}"),
    };
    let file = json("rs/errors.json");
    for row in rows(&file, "encode") {
        // A negative count is the business of the caller, who has signed numbers.
        let Some(m) = row["parity_shards"].as_u64() else {
            continue;
        };
        let refused = encode(&shards_of(&row, "data_shards"), m as usize);
        assert_eq!(class(refused.unwrap_err()), text(&row, "error"), "{row}");
    }
    for row in rows(&file, "reconstruct") {
        let shards = holes_of(&row, "shards");
        let shards: Vec<Option<&[u8]>> = shards.iter().map(Option::as_deref).collect();
        let refused = reconstruct(&shards, number(&row, "data_shards") as usize, &[]);
        assert_eq!(class(refused.unwrap_err()), text(&row, "error"), "{row}");
    }
}

#[test]
fn messages_name_the_shard() {
    let message = |result: Result<()>| result.unwrap_err().to_string();
    let cancel = Cancel::new();
    let (long, short) = ([1; 8], [1; 5]);
    let data: [&[u8]; 4] = [&long, &long, &long, &short];
    assert_eq!(
        message(rs::encode(&data, &mut [&mut [0; 8]], &cancel)),
        "shard 3 has 5 bytes, shard 0 has 8"
    );
    assert_eq!(
        message(rs::encode(
            &data[..3],
            &mut [&mut [0; 8], &mut [0; 7]],
            &cancel
        )),
        "shard 4 has 7 bytes, shard 0 has 8"
    );
    assert_eq!(
        message(rs::encode(&[&[]], &mut [&mut []], &cancel)),
        "shard 0 is empty; a shard has at least one byte"
    );
    assert_eq!(
        message(rs::check_counts(200, 57)),
        "200 data and 57 parity shards; together they may be 256 at most"
    );
    assert_eq!(
        message(rs::check_counts(usize::MAX, 57)),
        format!(
            "{} data and 57 parity shards; together they may be 256 at most",
            usize::MAX
        )
    );
    let lost = [None, Some(&long[..]), Some(&long[..])];
    for (wanted, expected) in [
        (1, "shard 1 is not lost"),
        (3, "shard 3 is wanted, the list has 3 shards"),
    ] {
        let refused = rs::reconstruct(&lost, 2, &[wanted], &mut [&mut [0; 8]], &cancel);
        assert_eq!(message(refused), expected);
    }
    assert_eq!(
        message(rs::reconstruct(&lost, 2, &[0], &mut [&mut [0; 9]], &cancel)),
        "the output for shard 0 has 9 bytes, 8 are expected"
    );
    let twice = rs::reconstruct(&lost, 2, &[0, 0], &mut [&mut [0; 8], &mut [0; 8]], &cancel);
    assert_eq!(message(twice), "shard 0 is wanted twice");
    assert_eq!(
        message(rs::reconstruct(&lost, 2, &[0], &mut [], &cancel)),
        "0 outputs for 1 wanted shards"
    );
    assert_eq!(
        message(rs::update(2, 2, &long, &long, &mut [&mut [0; 8]], &cancel)),
        "shard 2 is no data shard; there are 2 of them"
    );
    assert_eq!(
        message(rs::update(2, 1, &long, &short, &mut [&mut [0; 8]], &cancel)),
        "the new shard 1 has 5 bytes, 8 are expected"
    );
}

#[test]
fn a_cancelled_call_stops() {
    let cancel = Cancel::new();
    cancel.cancel();
    let data = noise("stop", 3, 1000);
    let mut parity = vec![vec![0; 1000]; 2];
    let stopped = rs::encode(&slices(&data), &mut slices_mut(&mut parity), &cancel);
    assert_eq!(stopped, Err(Error::Interrupted));
    let all = [data, parity].concat();
    assert_eq!(
        rs::verify(&slices(&all), 3, &cancel),
        Err(Error::Interrupted)
    );
}

#[test]
fn threads_do_not_change_the_bytes() {
    let (k, m, len) = (7, 3, (1 << 20) + 77);
    let data = noise("threads", k, len);
    let parity = encode(&data, m).unwrap();
    let all = [data.clone(), parity.clone()].concat();
    let lost = [0, 5, 8];
    let expected: Vec<_> = lost.iter().map(|&index| all[index].clone()).collect();
    for threads in 1..=4 {
        pool::install(Some(threads), || {
            assert!(encode(&data, m).unwrap() == parity, "{threads} threads");
            let made = reconstruct(&without(&all, &lost), k, &lost).unwrap();
            assert!(made == expected, "{threads} threads");
            assert!(verify(&all, k));
            let mut wrong = all.clone();
            wrong[8][len - 1] ^= 1;
            assert!(!verify(&wrong, k));
        })
        .unwrap();
    }
}

/// `(k, m)` of a code, most of them small.
pub fn counts() -> impl Strategy<Value = (usize, usize)> {
    prop_oneof![
        (1..20_usize, 1..10_usize),
        (1..20_usize, 1..10_usize),
        Just((64, 32)),
        Just((255, 1)),
        Just((1, 255)),
        Just((128, 128)),
        (1..256_usize).prop_flat_map(|k| (Just(k), 1..=256 - k)),
    ]
}

proptest! {
    #[test]
    fn parity_is_the_polynomial_further_on(
        k in 1..9_usize, m in 1..5_usize, len in 1..20_usize, seed in "[a-z]{4}",
    ) {
        let data = noise(&seed, k, len);
        let parity = encode(&data, m).unwrap();
        for (row, shard) in parity.iter().enumerate() {
            prop_assert_eq!(shard, &naive::shard(&data, k + row));
        }
    }

    #[test]
    fn parity_is_that_of_the_crate(
        (k, m) in counts(), len in 1..700_usize, seed in "[a-z]{4}",
    ) {
        let data = noise(&seed, k, len);
        let mut expected = [data.clone(), vec![vec![0; len]; m]].concat();
        ReedSolomon::new(k, m).unwrap().encode(&mut expected).unwrap();
        let parity = encode(&data, m).unwrap();
        prop_assert!(parity == expected[k..]);
        prop_assert!(verify(&expected, k));
    }

    #[test]
    fn whatever_is_lost_comes_back(
        (k, m) in counts(),
        len in 1..700_usize,
        order in prop::collection::vec(any::<u32>(), 256),
        count in any::<prop::sample::Index>(),
        skipped in 0..3_usize,
    ) {
        let data = noise("lost", k, len);
        let all = [data.clone(), encode(&data, m).unwrap()].concat();
        let mut lost: Vec<usize> = (0..k + m).collect();
        lost.sort_by_key(|&index| order[index]);
        lost.truncate(count.index(m + 1));
        // Not all that is lost need be wanted.
        let wanted = &lost[skipped.min(lost.len())..];
        let made = reconstruct(&without(&all, &lost), k, wanted).unwrap();
        for (index, shard) in wanted.iter().zip(&made) {
            prop_assert!(shard == &all[*index], "shard {index} of {lost:?}");
        }
    }

    #[test]
    fn much_lost_parity_comes_back_with_and_without_data(
        k in 8..70_usize, m in 8..70_usize, len in 1..700_usize,
        lost_data in 0..6_usize, kept in 0..6_usize, skipped in 0..4_usize, reversed: bool,
    ) {
        let data = noise("much", k, len);
        let all = [data.clone(), encode(&data, m).unwrap()].concat();
        let kept = kept.max(lost_data);
        let mut lost: Vec<usize> = (0..lost_data).map(|index| index * k / 6).collect();
        lost.extend((k..k + m).filter(|index| index % (m / kept.max(1)).max(1) != 0 || kept == 0));
        lost.truncate(m);
        if reversed {
            lost.reverse();
        }
        let wanted = &lost[skipped.min(lost.len())..];
        let made = reconstruct(&without(&all, &lost), k, wanted).unwrap();
        for (index, shard) in wanted.iter().zip(&made) {
            prop_assert!(shard == &all[*index], "shard {index} of {lost:?}");
        }
    }

    #[test]
    fn updated_parity_is_that_of_the_new_data(
        (k, m) in counts(), len in 1..9000_usize, place in any::<prop::sample::Index>(),
    ) {
        let mut data = noise("old", k, len);
        let index = place.index(k);
        let new = make("noise", "new", len);
        let mut parity = encode(&data, m).unwrap();
        let cancel = Cancel::new();
        rs::update(k, index, &data[index], &new, &mut slices_mut(&mut parity), &cancel).unwrap();
        data[index] = new;
        prop_assert!(parity == encode(&data, m).unwrap());
    }

    #[test]
    fn one_wrong_bit_is_noticed(
        (k, m) in counts(), len in 1..9000_usize,
        shard in any::<prop::sample::Index>(), place in any::<prop::sample::Index>(), bit in 0..8,
    ) {
        let data = noise("bit", k, len);
        let mut all = [data.clone(), encode(&data, m).unwrap()].concat();
        prop_assert!(verify(&all, k));
        all[shard.index(k + m)][place.index(len)] ^= 1_u8 << bit;
        prop_assert!(!verify(&all, k));
    }
}
