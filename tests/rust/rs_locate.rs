//! Which shards are wrong: the answer of trying every set.

use proptest::prelude::*;
use shardpack::{
    Error,
    pool::Cancel,
    rs::{self, reconstruct},
};

use crate::{
    rs::{encode, noise, shards_of, slices_mut},
    vectors::{json, rows, sha256},
};

fn locate(shards: &[Option<&[u8]>], k: usize, max_errors: usize) -> Option<Vec<usize>> {
    rs::locate(shards, k, max_errors, &Cancel::new()).unwrap()
}

fn present(shards: &[Vec<u8>]) -> Vec<Option<&[u8]>> {
    shards.iter().map(|shard| Some(shard.as_slice())).collect()
}

/// Whether the shards other than `wrong` agree with each other, of which there are enough to tell.
fn agree(shards: &[Option<&[u8]>], k: usize, wrong: &[usize]) -> bool {
    let is_left = |index: &usize| shards[*index].is_some() && !wrong.contains(index);
    let left: Vec<usize> = (0..shards.len()).filter(is_left).collect();
    if left.len() <= k {
        return false;
    }
    let mut kept = vec![None; shards.len()];
    for &index in &left[..k] {
        kept[index] = shards[index];
    }
    let len = shards[left[0]].unwrap().len();
    let mut outputs = vec![vec![0; len]; left.len() - k];
    let cancel = Cancel::new();
    reconstruct(&kept, k, &left[k..], &mut slices_mut(&mut outputs), &cancel).unwrap();
    left[k..]
        .iter()
        .zip(&outputs)
        .all(|(&index, output)| shards[index].unwrap() == output)
}

/// By trying every set, the smallest ones first.
fn naive(shards: &[Option<&[u8]>], k: usize, max_errors: usize) -> Option<Vec<usize>> {
    let there: Vec<usize> = (0..shards.len())
        .filter(|&at| shards[at].is_some())
        .collect();
    let mut sets = [vec![vec![]], vec![], vec![]];
    for (place, &one) in there.iter().enumerate() {
        sets[1].push(vec![one]);
        for &other in &there[place + 1..] {
            sets[2].push(vec![one, other]);
        }
    }
    for sets in &sets[..=max_errors] {
        let mut found = sets.iter().filter(|set| agree(shards, k, set));
        if let Some(first) = found.next() {
            return found.next().is_none().then(|| first.clone());
        }
    }
    None
}

#[test]
fn recorded_damage_is_located_and_repaired() {
    for row in rows(&json("rs/corrupt.json"), "cases") {
        let k = row["k"].as_u64().unwrap() as usize;
        let mut shards = shards_of(&row, "shards");
        let corrupt = row["corrupt"].as_array().unwrap().iter();
        let corrupt: Vec<usize> = corrupt.map(|one| one.as_u64().unwrap() as usize).collect();
        let found = locate(&present(&shards), k, corrupt.len());
        assert_eq!(found.as_ref(), Some(&corrupt));
        let mut holes = present(&shards);
        for &index in &corrupt {
            holes[index] = None;
        }
        let mut repaired = vec![vec![0; shards[0].len()]; corrupt.len()];
        let cancel = Cancel::new();
        reconstruct(&holes, k, &corrupt, &mut slices_mut(&mut repaired), &cancel).unwrap();
        for (&index, shard) in corrupt.iter().zip(repaired) {
            shards[index] = shard;
        }
        assert_eq!(
            sha256(&shards.concat()),
            row["repaired_sha256"].as_str().unwrap()
        );
        assert_eq!(locate(&present(&shards), k, 0), Some(vec![]));
    }
}

#[test]
fn one_spare_shard_tells_that_but_not_where() {
    let data = noise("spare", 3, 50);
    let mut all = [data.clone(), encode(&data, 1).unwrap()].concat();
    assert_eq!(locate(&present(&all), 3, 2), Some(vec![]));
    all[2][7] ^= 1;
    assert_eq!(locate(&present(&all), 3, 2), None);
    let mut few = present(&all);
    few[2] = None;
    assert_eq!(locate(&few, 3, 2), None, "no spare shard");
    assert_eq!(locate(&[None; 4], 3, 2), None, "no shard");
}

#[test]
fn the_largest_code_is_searched_in_no_time() {
    let data = noise("large", 128, 3000);
    let mut all = [data.clone(), encode(&data, 128).unwrap()].concat();
    all[255][2999] ^= 1;
    assert_eq!(locate(&present(&all), 128, 2), Some(vec![255]));
    all[0][1] ^= 0x80;
    assert_eq!(locate(&present(&all), 128, 2), Some(vec![0, 255]));
    all[130][2000] ^= 3;
    assert_eq!(locate(&present(&all), 128, 2), None);
}

#[test]
fn a_single_column_can_leave_several_pairs() {
    let mut answers = [0, 0];
    for k in [2, 5, 12, 30] {
        for first in 0..k {
            let data = noise("pairs", k, 1);
            let mut all = [data.clone(), encode(&data, 3).unwrap()].concat();
            all[first][0] ^= 0x35;
            all[k + 1][0] ^= 0xC1;
            let found = locate(&present(&all), k, 2);
            assert_eq!(found, naive(&present(&all), k, 2), "{k} {first}");
            answers[usize::from(found.is_some())] += 1;
        }
    }
    assert!(answers.iter().all(|&count| count > 5), "{answers:?}");
}

#[test]
fn more_than_two_are_not_looked_for() {
    let shards = [Some(&[1_u8][..]), Some(&[1]), Some(&[1])];
    assert_eq!(
        rs::locate(&shards, 1, 3, &Cancel::new()),
        Err(Error::InvalidInput(
            "3 errors; at most 2 can be located".into()
        ))
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        ProptestConfig::default().cases * 8
    ))]

    #[test]
    fn the_answer_is_that_of_trying_every_set(
        k in 1..6_usize, m in 1..7_usize, len in prop_oneof![1..4_usize, 1..300_usize],
        max_errors in 0..3_usize,
        // Few values and places, so that errors cancel out and are proportional often.
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0..3_usize, 0..3_u8), 0..6),
        wide in prop::option::of((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1..4_u8)),
        lost in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
    ) {
        let data = noise("locate", k, len);
        let mut all = [data.clone(), encode(&data, m).unwrap()].concat();
        for (shard, place, change) in &damage {
            let place = if *place == 2 { len - 1 } else { *place % len };
            all[shard.index(k + m) / 2 * 2 % (k + m)][place] ^= change;
        }
        if let Some((one, other, change)) = wide {
            // The same change everywhere in two shards: no column tells more than the first one.
            for index in [one.index(k + m), other.index(k + m)] {
                all[index].iter_mut().for_each(|byte| *byte ^= change);
            }
        }
        let mut shards = present(&all);
        for index in &lost {
            shards[index.index(k + m)] = None;
        }
        prop_assert_eq!(locate(&shards, k, max_errors), naive(&shards, k, max_errors));
    }
}
