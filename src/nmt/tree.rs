//! A tree that grows, and proves what is in it.
//!
//! It keeps the digests of all complete aligned blocks, level by level, and the namespaces as runs of
//! equal ones: about 64 bytes a leaf. Labels are looked up in the runs; subtrees at the ragged right
//! edge are folded when they are asked for, which takes one hash a level.

use rayon::prelude::*;

use super::{
    fold::{BATCH, Leaves, hash_records, lowest_bit, slot_of},
    leaves::{Hashed, Slices, Source, descending},
    node::{Climber, Node, write_node},
    proof::{MAX_LEAF_NODES, MAX_NODES},
    runs::Runs,
};
use crate::{
    error::{Error, Result},
    hash::{DIGEST_LEN, Digest},
    memory,
    nmt::{Kind, Params, Proof, hex, wrong_width},
    pool::{self, Cancel},
};

/// Digests that one task makes.
const TASK: usize = 1024;

/// A namespaced Merkle tree of leaves in the order of their namespaces.
#[derive(Debug, Clone)]
pub struct Tree {
    params: Params,
    /// `levels[height][index]` is the digest of the leaves from `index << height` on.
    levels: Vec<Vec<Digest>>,
    runs: Runs,
}

impl Tree {
    /// A tree of no leaves.
    #[must_use]
    pub fn new(params: Params) -> Self {
        Self {
            params,
            levels: vec![Vec::new()],
            runs: Runs::new(params),
        }
    }

    /// What the tree is made with.
    #[must_use]
    pub const fn params(&self) -> Params {
        self.params
    }

    /// The number of leaves.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.levels[0].len() as u64
    }

    /// Whether there are no leaves.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends a leaf; returns its index.
    ///
    /// # Errors
    /// [`Error::InvalidInput`]: the namespace has another width or is below the last one.
    pub fn push(&mut self, namespace: &[u8], data: &[u8]) -> Result<u64> {
        let index = self.len();
        self.extend(&[namespace], &[data], &Cancel::new())?;
        Ok(index)
    }

    /// Appends leaves, each in the namespace of the same index; all of them or none.
    ///
    /// Runs on the threads of the pool that it is called in.
    ///
    /// # Errors
    /// [`Error::InvalidInput`]: counts that differ, or, named by its index in the tree, the first
    /// namespace of another width or below its predecessor. [`Error::Interrupted`].
    pub fn extend(
        &mut self,
        namespaces: &[&[u8]],
        leaves: &[&[u8]],
        cancel: &Cancel,
    ) -> Result<()> {
        let source = Slices::new(leaves, namespaces)?;
        self.check(namespaces)?;
        let counts: Vec<usize> = self.levels.iter().map(Vec::len).collect();
        let runs = self.runs.mark();
        for namespace in namespaces {
            self.runs.push(namespace);
        }
        let params = self.params;
        let grown = self
            .hash_leaves(&Hashed { params, source }, cancel)
            .and_then(|()| self.hash_levels(cancel));
        if grown.is_err() {
            self.runs.reset(runs);
            self.levels.truncate(counts.len());
            for (level, count) in self.levels.iter_mut().zip(counts) {
                level.truncate(count);
            }
        }
        grown
    }

    fn check(&self, namespaces: &[&[u8]]) -> Result<()> {
        let mut last = self.runs.last();
        for (index, &namespace) in namespaces.iter().enumerate() {
            let index = index + self.levels[0].len();
            if namespace.len() != self.params.ns_size() {
                let problem = wrong_width(self.params, namespace);
                return Err(Error::InvalidInput(format!("leaf {index}: {problem}")));
            }
            match last {
                Some(before) if namespace < before => {
                    return Err(descending(index, namespace, before));
                }
                _ => last = Some(namespace),
            }
        }
        Ok(())
    }

    fn hash_leaves<S: Source>(&mut self, leaves: &Hashed<S>, cancel: &Cancel) -> Result<()> {
        let level = &mut self.levels[0];
        let from = level.len();
        level.reserve(leaves.count());
        memory::prefer_huge_pages(level.as_mut_ptr().cast(), level.capacity() * DIGEST_LEN);
        level.resize(from + leaves.count(), [0; DIGEST_LEN]);
        in_tasks(&mut level[from..], |start, digests| {
            let mut arena = memory::take();
            let range = start..start + digests.len();
            let made = leaves.nodes(range, &mut arena, cancel, |at, _, digest| {
                digests[at - start] = *digest;
            });
            memory::give(arena);
            made
        })
    }

    fn hash_levels(&mut self, cancel: &Cancel) -> Result<()> {
        let (params, runs) = (self.params, &self.runs);
        let mut height = 0;
        while self.levels[height].len() > 1 {
            if self.levels.len() == height + 1 {
                self.levels.push(Vec::new());
            }
            let (below, above) = self.levels.split_at_mut(height + 1);
            let (below, above) = (&below[height], &mut above[0]);
            let (from, to) = (above.len(), below.len() / 2);
            if from == to {
                return Ok(());
            }
            above.resize(to, [0; DIGEST_LEN]);
            in_tasks(&mut above[from..], |start, digests| {
                cancel.check()?;
                hash_pairs(params, runs, below, height, from + start, digests);
                Ok(())
            })?;
            height += 1;
        }
        Ok(())
    }

    /// The root: a node. That of no leaves is [`Params::empty_root`].
    #[must_use]
    pub fn root(&self) -> Vec<u8> {
        if self.is_empty() {
            return self.params.empty_root();
        }
        self.edge(0).bytes().to_vec()
    }

    /// The leaves `(start, end)` of a namespace; without any, both are where they would be.
    ///
    /// # Errors
    /// [`Error::InvalidInput`]: a namespace of another width.
    pub fn leaf_range(&self, namespace: &[u8]) -> Result<(u64, u64)> {
        if namespace.len() != self.params.ns_size() {
            return Err(Error::InvalidInput(wrong_width(self.params, namespace)));
        }
        Ok(self.runs.range(namespace, self.len()))
    }

    /// Proves that the leaf at `index` is in the tree.
    ///
    /// # Errors
    /// [`Error::InvalidInput`]: there is no such leaf.
    pub fn prove(&self, index: u64) -> Result<Proof> {
        if index >= self.len() {
            let len = self.len();
            let text = format!("leaf {index} is not in a tree of {len} leaves");
            return Err(Error::InvalidInput(text));
        }
        self.prove_range(index, index + 1, false)
    }

    /// Proves that the leaves `start..end` of one namespace are in the tree.
    ///
    /// With `leaf_nodes` the proof carries their nodes, so that each can be checked alone.
    ///
    /// # Errors
    /// [`Error::InvalidInput`]: the range is empty, leaves the tree or spans namespaces; too many
    /// leaf nodes for a proof.
    pub fn prove_range(&self, start: u64, end: u64, leaf_nodes: bool) -> Result<Proof> {
        let len = self.len();
        if start >= end || end > len {
            return Err(Error::InvalidInput(format!(
                "{start}..{end} is no range of a tree of {len} leaves"
            )));
        }
        if self.runs.at(start) != self.runs.at(end - 1) {
            return Err(Error::InvalidInput(format!(
                "leaves {start}..{end} are of several namespaces, {} to {}",
                hex(self.runs.at(start)),
                hex(self.runs.at(end - 1))
            )));
        }
        self.proof(Kind::Inclusion, start, end, leaf_nodes)
    }

    /// Proves what is in a namespace: all its leaves, or that there are none.
    ///
    /// # Errors
    /// [`Error::InvalidInput`]: a namespace of another width; too many leaf nodes for a proof.
    pub fn prove_namespace(&self, namespace: &[u8], leaf_nodes: bool) -> Result<Proof> {
        let (start, end) = self.leaf_range(namespace)?;
        if self.is_empty() {
            return Ok(Proof::empty(self.params));
        }
        let (min, max) = self.runs.labels(0, self.len(), &mut 0);
        if namespace < min || namespace > max {
            Ok(Proof::empty(self.params))
        } else if start == end {
            // The first leaf above the namespace. There is one: the root's label is above it.
            self.proof(Kind::Absence, start, start + 1, true)
        } else {
            self.proof(Kind::Namespace, start, end, leaf_nodes)
        }
    }

    fn proof(&self, kind: Kind, start: u64, end: u64, leaf_nodes: bool) -> Result<Proof> {
        let node_len = self.params.node_len();
        let mut nodes = Vec::with_capacity(MAX_NODES.min(2 * self.levels.len()) * node_len);
        let mut at = 0;
        for height in (0..u64::BITS)
            .rev()
            .filter(|height| start >> height & 1 == 1)
        {
            self.push_block(height, at, &mut nodes);
            at += 1 << height;
        }
        at = end;
        while at < self.len() {
            let width = lowest_bit(at);
            if width <= self.len() - at {
                self.push_block(at.trailing_zeros(), at, &mut nodes);
            } else {
                nodes.extend_from_slice(self.edge(at).bytes());
            }
            at += width;
        }
        let mut carried = Vec::new();
        if leaf_nodes {
            if end - start > MAX_LEAF_NODES as u64 {
                return Err(Error::InvalidInput(format!(
                    "a proof carries at most {MAX_LEAF_NODES} leaf nodes, not {}",
                    end - start
                )));
            }
            carried.reserve((end - start) as usize * node_len);
            for at in start..end {
                self.push_block(0, at, &mut carried);
            }
        }
        Proof::new(kind, self.params, (start, end), nodes, carried)
    }

    /// Appends the node of the complete block of `1 << height` leaves from `at` on.
    fn push_block(&self, height: u32, at: u64, nodes: &mut Vec<u8>) {
        let digest = &self.levels[height as usize][(at >> height) as usize];
        let mut cursor = self.runs.guess(at);
        let (min, max) = self.runs.labels(at, at + (1 << height), &mut cursor);
        for part in [min, max, digest] {
            nodes.extend_from_slice(part);
        }
    }

    /// The node of all leaves from `start` on, which is where an aligned block of at least as many
    /// would start.
    fn edge(&self, start: u64) -> Node {
        // The complete blocks that make it up, one for each bit of its length, smallest first.
        let mut left = self.len() - start;
        let mut end = self.len();
        let mut climber: Option<Climber> = None;
        let mut block = Vec::with_capacity(self.params.node_len());
        while left > 0 {
            let width = lowest_bit(left);
            left -= width;
            end -= width;
            block.clear();
            self.push_block(width.trailing_zeros(), end, &mut block);
            match &mut climber {
                // The tree's own labels are in order: its nodes can always be joined.
                Some(climber) => climber.join_left(&block).unwrap_or_default(),
                None => climber = Some(Climber::new(self.params, Node::copied(&block))),
            }
        }
        let empty = || Node::copied(&self.params.empty_root());
        climber.map_or_else(empty, |climber| climber.node().clone())
    }
}

/// Fills `digests` with those of the pairs of `below` from `first` on.
fn hash_pairs(
    params: Params,
    runs: &Runs,
    below: &[Digest],
    height: usize,
    first: usize,
    digests: &mut [Digest],
) {
    let mut records = memory::take();
    records.resize(BATCH.min(digests.len()) * params.record_len(), 0);
    let mut cursor = runs.guess((2 * first as u64) << height);
    for (batch, places) in digests.chunks_mut(BATCH).enumerate() {
        let start = 2 * (first + batch * BATCH);
        for slot in 0..2 * places.len() {
            let at = ((start + slot) as u64) << height;
            let (min, max) = runs.labels(at, at + (1 << height), &mut cursor);
            let place = slot_of(params, &mut records, slot);
            write_node(params, place, min, max, &below[start + slot]);
        }
        let records = &records[..places.len() * params.record_len()];
        hash_records(params, records, places);
    }
    memory::give(records);
}

/// Hands parts of `digests` and where they start to `work`, on the threads of the pool if there are
/// enough of them.
fn in_tasks(
    digests: &mut [Digest],
    work: impl Fn(usize, &mut [Digest]) -> Result<()> + Sync,
) -> Result<()> {
    if digests.len() <= TASK || pool::workers() < 2 {
        return work(0, digests);
    }
    let tasks = digests.par_chunks_mut(TASK).enumerate();
    tasks.try_for_each(|(index, digests)| work(index * TASK, digests))
}
