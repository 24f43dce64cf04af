//! Shards of any number, length and loss: refused, or brought back as they were.

#![no_main]

use libfuzzer_sys::fuzz_target;
use shardpack::{
    pool::Cancel,
    rs::{encode, layout, locate, reconstruct, verify},
};

const MAX_SHARDS: usize = 256;

fuzz_target!(|input: &[u8]| {
    // Which shards are lost, the counts; the rest is data.
    let Some((data, [k, n, max_errors, lost @ ..])) = input.split_last_chunk::<35>() else {
        return;
    };
    let (k, n) = (usize::from(*k), usize::from(*n) + 1);
    let is_lost = |index: usize| lost[index / 8] >> (index % 8) & 1 == 1;
    let cancel = Cancel::new();

    // As they come: whatever the lengths and counts are, nothing panics and nothing is made up.
    let len = data.len().div_ceil(n);
    let pieces: Vec<&[u8]> = data.chunks(len.max(1)).collect();
    let shards: Vec<Option<&[u8]>> = (0..n.min(MAX_SHARDS))
        .map(|index| pieces.get(index).copied().filter(|_| !is_lost(index)))
        .collect();
    let wanted: Vec<usize> = (0..shards.len()).filter(|&index| shards[index].is_none()).collect();
    let mut places = vec![vec![0; len]; wanted.len()];
    let mut outputs: Vec<&mut [u8]> = places.iter_mut().map(Vec::as_mut_slice).collect();
    let left = shards.iter().flatten().count();
    let made = reconstruct(&shards, k, &wanted, &mut outputs, &cancel);
    assert!(made.is_err() || (left >= k && k > 0 && k < shards.len()));
    let _ = locate(&shards, k, usize::from(*max_errors % 4), &cancel);
    let _ = layout::decode_striped(&shards, k, len.max(1), &mut vec![0; data.len()], &cancel);
    let present: Vec<&[u8]> = shards.iter().flatten().copied().collect();
    let _ = verify(&present, k, &cancel);

    // As a codeword: what is lost comes back if the budget allows it.
    if k == 0 || k >= n || data.len() < k {
        return;
    }
    let len = data.len() / k;
    let rows: Vec<&[u8]> = data.chunks_exact(len).take(k).collect();
    let mut parity = vec![vec![0; len]; n - k];
    let mut outputs: Vec<&mut [u8]> = parity.iter_mut().map(Vec::as_mut_slice).collect();
    encode(&rows, &mut outputs, &cancel).expect("these counts make a code");
    let whole: Vec<&[u8]> = rows.iter().copied().chain(parity.iter().map(Vec::as_slice)).collect();
    assert_eq!(verify(&whole, k, &cancel), Ok(true));
    let shards: Vec<Option<&[u8]>> =
        (0..n).map(|index| Some(whole[index]).filter(|_| !is_lost(index))).collect();
    let wanted: Vec<usize> = (0..n).filter(|&index| is_lost(index)).collect();
    let mut places = vec![vec![0; len]; wanted.len()];
    let mut outputs: Vec<&mut [u8]> = places.iter_mut().map(Vec::as_mut_slice).collect();
    let made = reconstruct(&shards, k, &wanted, &mut outputs, &cancel);
    assert_eq!(made.is_ok(), wanted.len() <= n - k);
    for (&index, place) in wanted.iter().zip(&places).take(if made.is_ok() { n } else { 0 }) {
        assert_eq!(place, whole[index]);
    }
});
