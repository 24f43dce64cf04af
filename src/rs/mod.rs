//! Reed-Solomon erasure coding: `k` data shards, `m` parity shards, any `k` of them give back all.
//!
//! The code is the one that Backblaze, klauspost/reedsolomon and reed-solomon-erasure have in common:
//! GF(2^8) with the polynomial 0x11D, a Vandermonde matrix on the points 0, 1, 2, ... made systematic
//! (J. S. Plank, Y. Ding, "Note: Correction to the 1997 Tutorial on Reed-Solomon Coding", 2005).
//! Shard `r` is `p(r)`, `p` being the polynomial of degree below `k` through the data shards, so that a
//! parity shard depends on `k` and its own index only, and any `k` shards determine all others.
//!
//! Shards of one call have equal lengths, at least one byte. Work runs over byte columns on the threads
//! of the pool that it runs in; bytes depend neither on their number nor on the kernel. Erasures are
//! corrected, not errors: keep a digest of each shard and leave out those that do not match.

mod columns;
mod decode;
mod encoder;
pub mod fft;
pub mod field;
pub mod kernel;
pub mod layout;
mod locate;
mod shape;
pub mod stream;
mod update;

use std::sync::atomic::{AtomicBool, Ordering};

pub use self::{decode::reconstruct, locate::locate, shape::check_counts, update::update};
use crate::{error::Result, memory, pool::Cancel, rs::encoder::Encoder};

/// Most shards of one code, data and parity together.
pub const MAX_SHARDS: usize = 256;

/// Columns that are made at a time to be compared with what is there: all rows fit the L1 or L2 cache.
const COMPARED: usize = 4 << 10;

/// Makes the parity shards of `data`; `parity[j]` becomes shard `data.len() + j`.
///
/// # Errors
/// [`crate::Error::InvalidInput`] for counts that make no code (see [`check_counts`]) and for shards
/// that are empty or of unequal lengths; [`crate::Error::Interrupted`].
pub fn encode(data: &[&[u8]], parity: &mut [&mut [u8]], cancel: &Cancel) -> Result<()> {
    check_counts(data.len(), parity.len())?;
    let lens = data.iter().map(|shard| shard.len());
    let len = shape::common_len(
        lens.chain(parity.iter().map(|shard| shard.len()))
            .enumerate(),
    )?;
    let encoder = Encoder::new(data.len(), parity.len());
    columns::for_each(len, data.len(), parity, cancel, |range, parity| {
        encoder.run(data, range.start, parity);
        Ok(())
    })
}

/// Whether the parity shards, `shards[data_shards..]`, are those of the data shards before them.
///
/// # Errors
/// As [`encode`].
pub fn verify(shards: &[&[u8]], data_shards: usize, cancel: &Cancel) -> Result<bool> {
    shape::check_list(shards.len(), data_shards)?;
    let len = shape::common_len(shards.iter().map(|shard| shard.len()).enumerate())?;
    let (data, parity) = shards.split_at(data_shards);
    let encoder = Encoder::new(data.len(), parity.len());
    let equal = AtomicBool::new(true);
    columns::for_each(len, shards.len(), &mut [], cancel, |range, _| {
        let mut made = memory::take();
        made.resize(COMPARED.min(range.len()) * parity.len(), 0);
        for start in range.clone().step_by(COMPARED) {
            let count = COMPARED.min(range.end - start);
            let mut rows: Vec<&mut [u8]> = made.chunks_mut(count).take(parity.len()).collect();
            encoder.run(data, start, &mut rows);
            let mut pairs = rows.iter().zip(parity);
            if !pairs.all(|(row, shard)| **row == shard[start..start + count]) {
                equal.store(false, Ordering::Relaxed);
            }
            if !equal.load(Ordering::Relaxed) {
                break;
            }
        }
        memory::give(made);
        Ok(())
    })?;
    Ok(equal.into_inner())
}
