//! Nodes as bytes, and the rule by which two of them make a third.

use crate::{
    hash::{DIGEST_LEN, Digest, digest},
    nmt::{MAX_NS_SIZE, Params},
};

/// What the preimage of a leaf starts with.
pub const LEAF_PREFIX: u8 = 0;
/// What the preimage of an inner node starts with.
pub const INNER_PREFIX: u8 = 1;

/// The default width of namespaces: labels of it are moved and compared without a call.
const WIDTH: usize = 8;
const MAX_NODE_LEN: usize = 2 * MAX_NS_SIZE + DIGEST_LEN;

impl Params {
    /// Bytes of the preimage of an inner node.
    pub(super) const fn record_len(self) -> usize {
        1 + 2 * self.node_len()
    }

    pub(super) fn min(self, node: &[u8]) -> &[u8] {
        &node[..self.ns_size()]
    }

    pub(super) fn max(self, node: &[u8]) -> &[u8] {
        &node[self.ns_size()..2 * self.ns_size()]
    }

    /// Whether `ns` is the greatest namespace in a tree where that one does not count.
    pub(super) fn ignores(self, ns: &[u8]) -> bool {
        self.ignore_max() && ns.iter().all(|&byte| byte == 0xff)
    }

    /// The labels of the node with this preimage.
    #[inline]
    pub(super) fn labels_of(self, record: &[u8]) -> (&[u8], &[u8]) {
        let (left, right) = record[1..].split_at(self.node_len());
        let max = if self.ignores(self.min(right)) {
            self.max(left)
        } else {
            self.max(right)
        };
        (self.min(left), max)
    }
}

/// Copies labels of the default width without a call.
#[inline]
pub fn copy_label(place: &mut [u8], label: &[u8]) {
    let both = (
        <&mut [u8; WIDTH]>::try_from(&mut *place),
        <&[u8; WIDTH]>::try_from(label),
    );
    if let (Ok(place), Ok(label)) = both {
        *place = *label;
    } else {
        place.copy_from_slice(label);
    }
}

/// Whether a namespace is below another one of the same width.
#[inline]
pub fn is_below(ns: &[u8], other: &[u8]) -> bool {
    let both = (<[u8; WIDTH]>::try_from(ns), <[u8; WIDTH]>::try_from(other));
    if let (Ok(ns), Ok(other)) = both {
        u64::from_be_bytes(ns) < u64::from_be_bytes(other)
    } else {
        ns < other
    }
}

/// Writes a node to `place`, which has its length.
#[inline]
pub fn write_node(params: Params, place: &mut [u8], min: &[u8], max: &[u8], digest: &Digest) {
    let (labels, hash) = place.split_at_mut(2 * params.ns_size());
    let (first, second) = labels.split_at_mut(params.ns_size());
    copy_label(first, min);
    copy_label(second, max);
    hash.copy_from_slice(digest);
}

/// One node, on the stack.
#[derive(Clone)]
pub struct Node {
    bytes: [u8; MAX_NODE_LEN],
    len: usize,
}

impl Node {
    pub fn new(params: Params, min: &[u8], max: &[u8], digest: &Digest) -> Self {
        let (mut bytes, len) = ([0; MAX_NODE_LEN], params.node_len());
        write_node(params, &mut bytes[..len], min, max, digest);
        Self { bytes, len }
    }

    /// A copy of bytes that have the length of a node.
    pub fn copied(node: &[u8]) -> Self {
        let (mut bytes, len) = ([0; MAX_NODE_LEN], node.len());
        bytes[..len].copy_from_slice(node);
        Self { bytes, len }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// A node on its way up: each step makes it the parent of itself and a neighbour.
pub struct Climber {
    params: Params,
    node: Node,
    record: [u8; 1 + 2 * MAX_NODE_LEN],
}

impl Climber {
    pub fn new(params: Params, node: Node) -> Self {
        let mut record = [0; 1 + 2 * MAX_NODE_LEN];
        record[0] = INNER_PREFIX;
        Self {
            params,
            node,
            record,
        }
    }

    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Up, with `left` for a neighbour; `None` if the namespaces are out of order.
    pub fn join_left(&mut self, left: &[u8]) -> Option<()> {
        let params = self.params;
        let (first, second) = self.record[1..params.record_len()].split_at_mut(params.node_len());
        first.copy_from_slice(left);
        second.copy_from_slice(self.node.bytes());
        self.step()
    }

    /// As [`Climber::join_left`], with a neighbour on the right.
    pub fn join_right(&mut self, right: &[u8]) -> Option<()> {
        let params = self.params;
        let (first, second) = self.record[1..params.record_len()].split_at_mut(params.node_len());
        first.copy_from_slice(self.node.bytes());
        second.copy_from_slice(right);
        self.step()
    }

    fn step(&mut self) -> Option<()> {
        let params = self.params;
        let record = &self.record[..params.record_len()];
        let (left, right) = record[1..].split_at(params.node_len());
        if params.max(left) > params.min(right) {
            return None;
        }
        let hash = digest(params.hash(), record);
        let (min, max) = params.labels_of(record);
        write_node(
            params,
            &mut self.node.bytes[..self.node.len],
            min,
            max,
            &hash,
        );
        Some(())
    }
}

/// Nodes side by side, as in a proof.
#[derive(Debug, Clone, Copy)]
pub struct Nodes<'a> {
    bytes: &'a [u8],
    node_len: usize,
}

impl<'a> Nodes<'a> {
    /// Bytes that are whole nodes.
    pub const fn new(params: Params, bytes: &'a [u8]) -> Self {
        let node_len = params.node_len();
        Self { bytes, node_len }
    }

    pub const fn none(params: Params) -> Self {
        Self::new(params, &[])
    }

    pub const fn len(self) -> usize {
        self.bytes.len() / self.node_len
    }

    pub fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        self.bytes.chunks_exact(self.node_len)
    }

    /// The node at `index`, which there is.
    pub fn get(self, index: usize) -> &'a [u8] {
        &self.bytes[index * self.node_len..(index + 1) * self.node_len]
    }

    /// The first `count`, or all if there are fewer, and the rest.
    pub fn split(self, count: usize) -> (Self, Self) {
        let (bytes, rest) = self.bytes.split_at(count.min(self.len()) * self.node_len);
        (
            Self { bytes, ..self },
            Self {
                bytes: rest,
                ..self
            },
        )
    }

    pub fn take_first(&mut self) -> Option<&'a [u8]> {
        let (first, rest) = self.bytes.split_at_checked(self.node_len)?;
        self.bytes = rest;
        Some(first)
    }

    pub fn take_last(&mut self) -> Option<&'a [u8]> {
        let at = self.bytes.len().checked_sub(self.node_len)?;
        let (rest, last) = self.bytes.split_at(at);
        self.bytes = rest;
        Some(last)
    }
}
