//! From the nodes of leaves, level by level, to the one node above all of them.
//!
//! The same walk makes roots and checks proofs: a proof's nodes stand in for the leaves left and
//! right of its range. Leaves are cut into aligned blocks of a power of two, which are subtrees of
//! any tree that holds them, so that threads share the work and the result does not depend on how
//! many there are. Within a block the nodes of a level lie in pairs, each behind the prefix of an
//! inner node: a pair is its own preimage, nothing is gathered for hashing.

use std::{mem, ops::Range};

use rayon::prelude::*;

use super::node::{Climber, INNER_PREFIX, Node, Nodes, write_node};
use crate::{
    error::Result,
    hash::{DIGEST_LEN, Digest, digest_many},
    memory,
    nmt::Params,
    pool::{self, Cancel},
};

/// Preimages that are hashed in one call: whole groups of 3 streams and of 16 lanes.
pub const BATCH: usize = 96;
/// Leaves of the largest block, as a power of two.
const MAX_HEIGHT: u32 = 12;
/// Blocks for each thread, so that uneven ones level out.
const SHARE: usize = 4;
/// Weight of the smallest block worth handing to another thread.
const MIN_WEIGHT: usize = 64 << 10;

/// Leaves whose nodes can be made.
pub trait Leaves: Sync {
    /// How many, at least one.
    fn count(&self) -> usize;

    /// Roughly the bytes to hash for all of them.
    fn weight(&self) -> usize;

    /// Hands index, namespaces and digest of each leaf in `range` to `put`, in order.
    fn nodes(
        &self,
        range: Range<usize>,
        arena: &mut Vec<u8>,
        cancel: &Cancel,
        put: impl FnMut(usize, [&[u8]; 2], &Digest),
    ) -> Result<()>;
}

/// The maximal subtrees left and right of a range of leaves, each in tree order.
#[derive(Debug, Clone, Copy)]
pub struct Sides<'a> {
    pub left: Nodes<'a>,
    pub right: Nodes<'a>,
}

impl<'a> Sides<'a> {
    pub const fn none(params: Params) -> Self {
        let (left, right) = (Nodes::none(params), Nodes::none(params));
        Self { left, right }
    }

    /// The subtrees of `nodes` around a range that begins at `start`.
    pub fn around(nodes: Nodes<'a>, start: u64) -> Self {
        let (left, right) = nodes.split(start.count_ones() as usize);
        Self { left, right }
    }

    /// The subtrees below `height` next to the range, and those above.
    fn split(self, range: &Range<u64>, height: u32) -> (Self, Self) {
        let below = (1 << height) - 1;
        let low_left = (range.start & below).count_ones() as usize;
        let (left, near_left) = self.left.split(self.left.len().saturating_sub(low_left));
        let low_right = right_count(range.end & below, 1 << height);
        let (near_right, right) = self.right.split(low_right);
        let near = Self {
            left: near_left,
            right: near_right,
        };
        (near, Self { left, right })
    }
}

/// How many maximal subtrees cover the leaves from `end` up to `size`; none if `end` is 0.
pub fn right_count(end: u64, size: u64) -> usize {
    let (mut at, mut count) = (end, 0);
    while at > 0 && at < size {
        count += 1;
        // Beyond 2^64 no tree goes on.
        at = at.checked_add(lowest_bit(at)).unwrap_or(size);
    }
    count
}

/// Leaves of the largest aligned block that starts at `position`, which is not 0.
pub const fn lowest_bit(position: u64) -> u64 {
    1 << position.trailing_zeros()
}

/// The node above `leaves`, the first of which is at `start`, and above `sides`.
///
/// `None` if the namespaces are out of order, or a subtree on the left is missing. An absent subtree
/// on the right is taken for the ragged edge of the tree. Hashes once for each leaf and each node.
pub fn fold<L: Leaves>(
    params: Params,
    start: u64,
    leaves: &L,
    sides: Sides<'_>,
    cancel: &Cancel,
) -> Result<Option<Node>> {
    let count = leaves.count();
    if count == 1 {
        let mut node = None;
        leaves.nodes(0..1, &mut Vec::new(), cancel, |_, [min, max], digest| {
            node = Some(Node::new(params, min, max, digest));
        })?;
        return Ok(node.and_then(|node| climb(params, start, node, sides)));
    }
    let range = start..start + count as u64;
    let height = block_height(count, leaves.weight());
    let first = start >> height;
    let blocks = ((range.end - 1) >> height) - first + 1;
    let mut top = Level::new(params);
    if blocks == 1 {
        top.fill(leaves, &range, range.clone(), cancel)?;
        return Ok(top.finish(sides));
    }
    let (near, far) = sides.split(&range, height);
    let work = |level: &mut Level, index: u64| {
        cancel.check()?;
        let bound = |block: u64| (block << height).clamp(range.start, range.end);
        let mut sides = Sides::none(params);
        if index == 0 {
            sides.left = near.left;
        }
        if index == blocks - 1 {
            sides.right = near.right;
        }
        let part = bound(first + index)..bound(first + index + 1);
        level.fill(leaves, &range, part, cancel)?;
        Ok(level.rise(height, &mut sides))
    };
    let nodes: Vec<Result<Option<Node>>> = if pool::workers() < 2 {
        let mut level = Level::new(params);
        let mut nodes = Vec::new();
        for index in 0..blocks {
            let node = work(&mut level, index)?;
            nodes.push(Ok(node));
        }
        nodes
    } else {
        let indexes = (0..blocks as usize).into_par_iter();
        let level = || Level::new(params);
        indexes
            .map_init(level, |level, index| work(level, index as u64))
            .collect()
    };
    // The first error is that of the first leaf, whichever thread was faster.
    top.begin(first, nodes.len());
    for (index, node) in nodes.into_iter().enumerate() {
        let Some(node) = node? else {
            return Ok(None);
        };
        top.slot(index).copy_from_slice(node.bytes());
    }
    Ok(top.finish(far))
}

/// Height of the blocks: tall ones keep the lanes of the hash full, short ones keep threads busy.
fn block_height(count: usize, weight: usize) -> u32 {
    let workers = pool::workers();
    if workers < 2 {
        return MAX_HEIGHT;
    }
    let each = weight / count;
    let is_right = |&height: &u32| {
        count >> height <= SHARE * workers && each.saturating_mul(1 << height) >= MIN_WEIGHT
    };
    (0..MAX_HEIGHT).find(is_right).unwrap_or(MAX_HEIGHT)
}

/// Neighbouring nodes of one level, in pairs that are ready to be hashed.
struct Level {
    params: Params,
    /// Place of the first node in its level of the tree.
    position: u64,
    count: usize,
    /// Preimages of parents. A first node at an odd place has the left half of its pair free.
    records: Vec<u8>,
    /// Where the next level is written to.
    spare: Vec<u8>,
    arena: Vec<u8>,
}

impl Level {
    fn new(params: Params) -> Self {
        Self {
            params,
            position: 0,
            count: 0,
            records: memory::take(),
            spare: memory::take(),
            arena: memory::take(),
        }
    }

    /// Makes place for `count` nodes from `position` on, yet to be written.
    fn begin(&mut self, position: u64, count: usize) {
        (self.position, self.count) = (position, count);
        let len = (count / 2 + 1) * self.params.record_len();
        if self.records.len() < len {
            self.records.resize(len, 0);
        }
    }

    /// Starts with the nodes of leaves: those of `part`, where `leaves` are those of `range`.
    fn fill<L: Leaves>(
        &mut self,
        leaves: &L,
        range: &Range<u64>,
        part: Range<u64>,
        cancel: &Cancel,
    ) -> Result<()> {
        let index = |position: u64| (position - range.start) as usize;
        let (from, to) = (index(part.start), index(part.end));
        self.begin(part.start, to - from);
        let (params, odd) = (self.params, self.odd());
        let records = &mut self.records;
        leaves.nodes(
            from..to,
            &mut self.arena,
            cancel,
            |at, [min, max], digest| {
                let place = slot_of(params, records, odd + at - from);
                write_node(params, place, min, max, digest);
            },
        )
    }

    fn odd(&self) -> usize {
        (self.position & 1) as usize
    }

    fn slot(&mut self, index: usize) -> &mut [u8] {
        let odd = self.odd();
        slot_of(self.params, &mut self.records, odd + index)
    }

    fn node(&self, index: usize) -> &[u8] {
        let params = self.params;
        let at = slot_start(params, self.odd() + index);
        &self.records[at..at + params.node_len()]
    }

    /// The one node that is left after `height` levels.
    fn rise(&mut self, height: u32, sides: &mut Sides<'_>) -> Option<Node> {
        for _ in 0..height {
            self.step(sides)?;
        }
        Some(Node::copied(self.node(0)))
    }

    /// The root.
    fn finish(&mut self, mut sides: Sides<'_>) -> Option<Node> {
        while self.count > 1 {
            self.step(&mut sides)?;
        }
        climb(
            self.params,
            self.position,
            Node::copied(self.node(0)),
            sides,
        )
    }

    /// Goes up by one level.
    fn step(&mut self, sides: &mut Sides<'_>) -> Option<()> {
        let (params, odd) = (self.params, self.odd());
        let mut slots = odd + self.count;
        if odd == 1 {
            let node = sides.left.take_last()?;
            if params.max(node) > params.min(self.node(0)) {
                return None;
            }
            slot_of(params, &mut self.records, 0).copy_from_slice(node);
        }
        if slots % 2 == 1
            && let Some(node) = sides.right.take_first()
        {
            if params.max(self.node(self.count - 1)) > params.min(node) {
                return None;
            }
            slot_of(params, &mut self.records, slots).copy_from_slice(node);
            slots += 1;
        }
        let above = self.position >> 1;
        let shift = (above & 1) as usize;
        let spare_len = (slots / 4 + 2) * params.record_len();
        if self.spare.len() < spare_len {
            self.spare.resize(spare_len, 0);
        }
        let (record_len, pairs) = (params.record_len(), slots / 2);
        for (batch, records) in self.records[..pairs * record_len]
            .chunks(BATCH * record_len)
            .enumerate()
        {
            let mut digests = [[0; DIGEST_LEN]; BATCH];
            let digests = &mut digests[..records.len() / record_len];
            hash_records(params, records, digests);
            let records = records.chunks_exact(record_len);
            for (index, (record, digest)) in records.zip(digests).enumerate() {
                let (min, max) = params.labels_of(record);
                let place = slot_of(params, &mut self.spare, shift + batch * BATCH + index);
                write_node(params, place, min, max, digest);
            }
        }
        if slots % 2 == 1 {
            let at = slot_start(params, slots - 1);
            let odd_one = &self.records[at..at + params.node_len()];
            slot_of(params, &mut self.spare, shift + pairs).copy_from_slice(odd_one);
        }
        mem::swap(&mut self.records, &mut self.spare);
        (self.position, self.count) = (above, slots.div_ceil(2));
        Some(())
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        for buffer in [&mut self.records, &mut self.spare, &mut self.arena] {
            memory::give(mem::take(buffer));
        }
    }
}

/// The digests of up to [`BATCH`] preimages of inner nodes that lie side by side.
pub fn hash_records(params: Params, records: &[u8], digests: &mut [Digest]) {
    let mut messages: [&[u8]; BATCH] = [&[]; BATCH];
    let records = records.chunks_exact(params.record_len());
    for (place, record) in messages.iter_mut().zip(records) {
        *place = record;
    }
    let count = digests.len().min(BATCH);
    digest_many(params.hash(), &messages[..count], digests);
}

const fn slot_start(params: Params, slot: usize) -> usize {
    slot / 2 * params.record_len() + 1 + slot % 2 * params.node_len()
}

/// The place of a node among pairs.
#[inline]
pub fn slot_of(params: Params, records: &mut [u8], slot: usize) -> &mut [u8] {
    let at = slot_start(params, slot);
    if slot.is_multiple_of(2) {
        records[at - 1] = INNER_PREFIX;
    }
    &mut records[at..at + params.node_len()]
}

/// From one node at `position` of its level up to the root.
fn climb(params: Params, mut position: u64, node: Node, mut sides: Sides<'_>) -> Option<Node> {
    let mut climber = Climber::new(params, node);
    loop {
        if position & 1 == 1 {
            climber.join_left(sides.left.take_last()?)?;
        } else if let Some(right) = sides.right.take_first() {
            climber.join_right(right)?;
        } else if position == 0 {
            return Some(climber.node().clone());
        }
        position >>= 1;
    }
}
