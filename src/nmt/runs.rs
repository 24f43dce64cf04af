//! The namespaces of leaves as runs of equal ones, and the labels that follow from them.

use super::node::copy_label;
use crate::nmt::Params;

/// The namespaces of the leaves, equal neighbours together.
#[derive(Debug, Clone)]
pub struct Runs {
    params: Params,
    /// The namespaces, joined.
    names: Vec<u8>,
    /// The first leaf of each.
    starts: Vec<u64>,
    count: u64,
}

impl Runs {
    pub const fn new(params: Params) -> Self {
        Self {
            params,
            names: Vec::new(),
            starts: Vec::new(),
            count: 0,
        }
    }

    pub fn push(&mut self, namespace: &[u8]) {
        if self.last() != Some(namespace) {
            let at = self.names.len();
            self.names.resize(at + namespace.len(), 0);
            copy_label(&mut self.names[at..], namespace);
            self.starts.push(self.count);
        }
        self.count += 1;
    }

    pub fn mark(&self) -> (usize, u64) {
        (self.starts.len(), self.count)
    }

    /// Back to where [`Runs::mark`] was taken.
    pub fn reset(&mut self, (runs, count): (usize, u64)) {
        self.starts.truncate(runs);
        self.names.truncate(runs * self.params.ns_size());
        self.count = count;
    }

    fn name(&self, run: usize) -> &[u8] {
        let size = self.params.ns_size();
        &self.names[run * size..(run + 1) * size]
    }

    pub fn last(&self) -> Option<&[u8]> {
        Some(self.name(self.starts.len().checked_sub(1)?))
    }

    /// The namespace of a leaf.
    pub fn at(&self, leaf: u64) -> &[u8] {
        self.name(self.find(leaf, self.guess(leaf)))
    }

    /// The leaves of a namespace.
    pub fn range(&self, namespace: &[u8], count: u64) -> (u64, u64) {
        let (mut low, mut high) = (0, self.starts.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.name(middle) < namespace {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let start = |run: usize| self.starts.get(run).copied().unwrap_or(count);
        let found = low < self.starts.len() && self.name(low) == namespace;
        (start(low), start(low + usize::from(found)))
    }

    /// The run of a leaf; looks near `near` first.
    fn find(&self, leaf: u64, near: usize) -> usize {
        let starts_by = |run: usize| self.starts.get(run).is_some_and(|&start| start <= leaf);
        if starts_by(near) {
            // Who walks from leaf to leaf stays, or goes on to the next run.
            if !starts_by(near + 1) {
                return near;
            }
            if !starts_by(near + 2) {
                return near + 1;
            }
        }
        // Steps of twice the width each find a near one at once and a far one soon.
        let (mut low, mut high) = (near, near);
        let mut width = 1;
        if starts_by(near) {
            while starts_by(high) {
                (low, high) = (high, high + width);
                width *= 2;
            }
        } else {
            // The first run starts by any leaf.
            while low > 0 && !starts_by(low) {
                (low, high) = (low.saturating_sub(width), low);
                width *= 2;
            }
        }
        let high = high.min(self.starts.len());
        low + self.starts[low..high].partition_point(|&start| start <= leaf) - 1
    }

    /// Where the run of a leaf is, if the runs are about equally long.
    pub fn guess(&self, leaf: u64) -> usize {
        let place = u128::from(leaf) * self.starts.len() as u128 / u128::from(self.count.max(1));
        place as usize
    }

    /// The least and greatest namespace of the leaves `from..to`; `cursor` is moved to the run of the
    /// last of them.
    pub fn labels(&self, from: u64, to: u64, cursor: &mut usize) -> (&[u8], &[u8]) {
        let first = self.find(from, *cursor);
        let last = if to - from == 1 {
            first
        } else {
            self.find(to - 1, first)
        };
        *cursor = last;
        let max = self.name(last);
        // Where the greatest namespace does not count, the one before it does, if it is there too.
        let ignored = last > first && self.params.ignores(max);
        (
            self.name(first),
            if ignored { self.name(last - 1) } else { max },
        )
    }
}
