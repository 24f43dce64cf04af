//! Many small payloads in one call: contexts stay warm, results stay in order.
//!
//! Records are cut into runs of about equal bytes; each run is one task that appends its results to
//! one buffer. The result does not depend on how many threads took part.

use rayon::prelude::*;

use super::{Codec, compress_with};
use crate::{
    error::{Error, Result},
    memory,
    pool::{self, Cancel},
};

/// Input bytes of one task, so that a task outweighs its scheduling by far.
const RUN_LEN: usize = 256 << 10;
/// Records of one task where each is decoded to its own place.
const MIN_RECORDS: usize = 16;
/// A record counts as at least this many bytes.
const RECORD_COST: usize = 256;

/// Results of consecutive records, back to back.
#[derive(Debug, Default)]
pub struct Run {
    /// The results, joined.
    pub bytes: Vec<u8>,
    /// The length of each result; `None` for a record that was null.
    pub lens: Vec<Option<usize>>,
}

impl Drop for Run {
    fn drop(&mut self) {
        memory::give(std::mem::take(&mut self.bytes));
    }
}

/// Compresses every record; a null stays null.
///
/// # Errors
/// The error and the index of the first record that failed.
pub fn compress_many(
    codec: &dyn Codec,
    records: &[Option<&[u8]>],
    cancel: &Cancel,
) -> Result<Vec<Run>, (usize, Error)> {
    each_run(records, |record, out| {
        compress_with(codec, record, cancel, |payload| {
            out.extend_from_slice(payload);
        })
    })
}

/// Decodes every record as a plain stream; a null stays null.
///
/// # Errors
/// The error and the index of the first record that failed, also for more than `limit` bytes from
/// one record.
pub fn decompress_many(
    codec: &dyn Codec,
    records: &[Option<&[u8]>],
    limit: u64,
    cancel: &Cancel,
) -> Result<Vec<Run>, (usize, Error)> {
    each_run(records, |record, out| {
        let start = out.len() as u64;
        let end = limit.saturating_add(start);
        codec
            .decompress_all(record, out, end, cancel)
            .map_err(|error| match error {
                Error::ClaimExceedsLimit { requested, .. } => {
                    let requested = requested - start;
                    Error::ClaimExceedsLimit { requested, limit }
                }
                Error::Bomb { codec, .. } => Error::Bomb {
                    codec,
                    claimed: limit,
                },
                other => other,
            })
    })
}

/// The lengths that the records state to decode to; `None` unless every one states one up to `limit`.
#[must_use]
pub fn stated_lens(codec: &dyn Codec, records: &[Option<&[u8]>], limit: u64) -> Option<Vec<usize>> {
    let stated = |record: &[u8]| codec.stated_len(record).filter(|&len| len as u64 <= limit);
    records
        .iter()
        .map(|record| record.map_or(Some(0), stated))
        .collect()
}

/// Decodes every record straight into its place, which has the length that it states.
///
/// False if a record does not decode to that length: [`decompress_many`] tells what it is then.
pub fn decompress_into(
    codec: &dyn Codec,
    records: &[Option<&[u8]>],
    places: Vec<&mut [u8]>,
    cancel: &Cancel,
) -> Result<bool> {
    let one = |record: Option<&[u8]>, place: &mut [u8]| match record {
        None => Ok(true),
        Some(record) => codec.decompress_exact(record, place, cancel),
    };
    // Damage is left to `decompress_many` as well, which reports the first in order.
    let right = |result: Result<bool>| match result {
        Err(Error::Interrupted) => Err(Error::Interrupted),
        result => Ok(result.unwrap_or(false)),
    };
    if pool::workers() < 2 {
        return records
            .iter()
            .zip(places)
            .try_fold(true, |all, (record, place)| {
                Ok(right(one(*record, place))? && all)
            });
    }
    records
        .par_iter()
        .zip(places)
        .with_min_len(MIN_RECORDS)
        .map(|(record, place)| right(one(*record, place)))
        .try_reduce(|| true, |a, b| Ok(a && b))
}

fn each_run(
    records: &[Option<&[u8]>],
    one: impl Fn(&[u8], &mut Vec<u8>) -> Result<()> + Sync,
) -> Result<Vec<Run>, (usize, Error)> {
    let run = |range: &std::ops::Range<usize>| {
        let mut run = Run {
            bytes: memory::take(),
            lens: Vec::with_capacity(range.len()),
        };
        for (index, record) in range.clone().zip(&records[range.clone()]) {
            let start = run.bytes.len();
            if let Some(record) = record {
                one(record, &mut run.bytes).map_err(|error| (index, error))?;
            }
            run.lens.push(record.map(|_| run.bytes.len() - start));
        }
        Ok(run)
    };
    let ranges = split(records);
    if ranges.len() < 2 || pool::workers() < 2 {
        return ranges.iter().map(run).collect();
    }
    // Every run is tried, so that the error reported is the first in order, not in time.
    ranges
        .par_iter()
        .map(run)
        .collect::<Vec<_>>()
        .into_iter()
        .collect()
}

/// Ranges of records of about [`RUN_LEN`] bytes each.
fn split(records: &[Option<&[u8]>]) -> Vec<std::ops::Range<usize>> {
    let mut ranges = Vec::new();
    let (mut start, mut len) = (0, 0);
    for (index, record) in records.iter().enumerate() {
        len += record.map_or(0, <[u8]>::len).max(RECORD_COST);
        if len >= RUN_LEN {
            ranges.push(start..index + 1);
            (start, len) = (index + 1, 0);
        }
    }
    if start < records.len() {
        ranges.push(start..records.len());
    }
    ranges
}
