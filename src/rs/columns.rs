//! Work on byte columns: every shard is cut at the same places, and the parts are independent.

use std::ops::Range;

use rayon::prelude::*;

use crate::{
    error::Result,
    pool::{self, Cancel},
};

/// Input bytes from which on threads are worth waking.
const PARALLEL_FROM: usize = 256 << 10;
/// Input bytes of the smallest and largest task: large enough to outweigh its scheduling, small
/// enough that a request to stop is noticed soon.
const TASK: (usize, usize) = (64 << 10, 1 << 20);
/// Tasks for each thread, so that one that is held up does not hold up all.
const TASKS_PER_WORKER: usize = 4;
/// Tasks end at whole cache lines.
const LINE: usize = 64;

/// Calls `work` on ranges of columns that together are `0..len`, on the threads of the pool that this
/// runs in, with the same columns of all `outputs`, each of which has `len` bytes.
///
/// `inputs` is how many shards are read: it sets the size of a task.
pub fn for_each<F>(
    len: usize,
    inputs: usize,
    outputs: &mut [&mut [u8]],
    cancel: &Cancel,
    work: F,
) -> Result<()>
where
    F: Fn(Range<usize>, &mut [&mut [u8]]) -> Result<()> + Sync,
{
    let columns = task_len(len.saturating_mul(inputs)) / inputs.max(1);
    let columns = columns.next_multiple_of(LINE).max(LINE);
    if len <= columns {
        cancel.check()?;
        return work(0..len, outputs);
    }
    let tasks = Cut {
        rest: outputs.iter_mut().map(|output| &mut **output).collect(),
        at: 0,
        len,
        columns,
    };
    let total = len.saturating_mul(inputs);
    run(tasks, total, cancel, |(range, mut parts)| {
        work(range, &mut parts)
    })
}

/// Calls `work` on all tasks, which have `total` bytes of input, on the threads of the pool that this
/// runs in.
pub fn run<T: Send>(
    mut tasks: impl Iterator<Item = T>,
    total: usize,
    cancel: &Cancel,
    work: impl Fn(T) -> Result<()> + Sync,
) -> Result<()> {
    let work = |task| {
        cancel.check()?;
        work(task)
    };
    if is_parallel(total) {
        let tasks: Vec<T> = tasks.collect();
        tasks.into_par_iter().try_for_each(work)
    } else {
        tasks.try_for_each(work)
    }
}

/// Bytes of input that one task should have, of `total`.
pub fn task_len(total: usize) -> usize {
    if is_parallel(total) {
        (total / (pool::workers() * TASKS_PER_WORKER)).clamp(TASK.0, TASK.1)
    } else {
        TASK.1
    }
}

fn is_parallel(total: usize) -> bool {
    total >= PARALLEL_FROM && pool::workers() > 1
}

/// Cuts all outputs at the same places.
struct Cut<'a> {
    rest: Vec<&'a mut [u8]>,
    at: usize,
    len: usize,
    columns: usize,
}

impl<'a> Iterator for Cut<'a> {
    type Item = (Range<usize>, Vec<&'a mut [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.at;
        if start >= self.len {
            return None;
        }
        let count = self.columns.min(self.len - start);
        self.at += count;
        let parts = self.rest.iter_mut().map(|rest| {
            let whole = std::mem::take(rest);
            let (part, later) = whole.split_at_mut(count.min(whole.len()));
            *rest = later;
            part
        });
        Some((start..self.at, parts.collect()))
    }
}
