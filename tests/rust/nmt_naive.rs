//! Namespaced Merkle trees once more: recursive, one hash at a time, from crates of others.

use sha2::Digest as _;
use shardpack::{hash::Algorithm, nmt::Params};

/// Namespace and data.
pub type Leaf = (Vec<u8>, Vec<u8>);

/// A tree that holds all its leaf nodes.
#[derive(Debug)]
pub struct Tree {
    pub params: Params,
    pub leaves: Vec<Leaf>,
    pub nodes: Vec<Vec<u8>>,
}

pub fn hash(algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
    match algorithm {
        Algorithm::Sha256 => sha2::Sha256::digest(message).to_vec(),
        Algorithm::Blake3 => blake3::hash(message).as_bytes().to_vec(),
        Algorithm::Keccak256 => sha3::Keccak256::digest(message).to_vec(),
        Algorithm::Sha3_256 => panic!("no hash of trees"),
    }
}

pub fn leaf(params: Params, ns: &[u8], data: &[u8]) -> Vec<u8> {
    let preimage = [&[0], ns, data].concat();
    [ns, ns, &hash(params.hash(), &preimage)].concat()
}

pub fn inner(params: Params, left: &[u8], right: &[u8]) -> Vec<u8> {
    let width = params.ns_size();
    let is_parity = right[..width].iter().all(|&byte| byte == 0xff);
    let max = if params.ignore_max() && is_parity {
        &left[width..2 * width]
    } else {
        &right[width..2 * width]
    };
    let preimage = [&[1], left, right].concat();
    [&left[..width], max, &hash(params.hash(), &preimage)].concat()
}

/// Where a tree of `count` leaves splits: the largest power of two below.
fn split(count: usize) -> usize {
    let mut at = 1;
    while 2 * at < count {
        at *= 2;
    }
    at
}

impl Tree {
    pub fn new(params: Params, leaves: Vec<Leaf>) -> Self {
        let nodes = leaves.iter().map(|(ns, data)| leaf(params, ns, data));
        let nodes = nodes.collect();
        Self {
            params,
            leaves,
            nodes,
        }
    }

    fn subtree(&self, from: usize, to: usize) -> Vec<u8> {
        if to - from == 1 {
            return self.nodes[from].clone();
        }
        let middle = from + split(to - from);
        let (left, right) = (self.subtree(from, middle), self.subtree(middle, to));
        inner(self.params, &left, &right)
    }

    pub fn root(&self) -> Vec<u8> {
        if self.nodes.is_empty() {
            let labels = vec![0; 2 * self.params.ns_size()];
            return [labels, hash(self.params.hash(), b"")].concat();
        }
        self.subtree(0, self.nodes.len())
    }

    /// The maximal subtrees outside of a range, left to right.
    pub fn outside(&self, start: usize, end: usize) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        self.walk((0, self.nodes.len()), (start, end), &mut found);
        found
    }

    fn walk(
        &self,
        (from, to): (usize, usize),
        (start, end): (usize, usize),
        found: &mut Vec<Vec<u8>>,
    ) {
        if to <= start || from >= end {
            found.push(self.subtree(from, to));
        } else if to - from > 1 {
            let middle = from + split(to - from);
            self.walk((from, middle), (start, end), found);
            self.walk((middle, to), (start, end), found);
        }
    }

    /// The leaves of a namespace, and where they are.
    pub fn of(&self, ns: &[u8]) -> (usize, usize, Vec<&[u8]>) {
        let start = self
            .leaves
            .partition_point(|(name, _)| name.as_slice() < ns);
        let inside = self.leaves[start..]
            .iter()
            .take_while(|(name, _)| name == ns);
        let data: Vec<&[u8]> = inside.map(|(_, data)| data.as_slice()).collect();
        (start, start + data.len(), data)
    }
}

/// What is wrong with a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    Disorder,
    LeftMissing,
}

/// The root that `nodes` around the leaves from `start` on lead to, by the walk of the specification:
/// over the smallest box of a power of two that holds the range, taking nodes in order.
pub fn fold(
    params: Params,
    start: u64,
    leaves: &[Vec<u8>],
    nodes: &[Vec<u8>],
) -> Result<Vec<u8>, Flaw> {
    let end = start + leaves.len() as u64;
    let mut walk = Walk {
        params,
        range: (start, end),
        leaves: leaves.iter(),
        nodes: nodes.iter(),
    };
    let root = walk.node(0, end.next_power_of_two())?;
    let mut root = root.ok_or(Flaw::LeftMissing)?;
    for node in walk.nodes {
        root = joined(params, &root, node)?;
    }
    Ok(root)
}

struct Walk<'a> {
    params: Params,
    range: (u64, u64),
    leaves: std::slice::Iter<'a, Vec<u8>>,
    nodes: std::slice::Iter<'a, Vec<u8>>,
}

impl Walk<'_> {
    /// The node of a part of the box, if there is one.
    fn node(&mut self, from: u64, to: u64) -> Result<Option<Vec<u8>>, Flaw> {
        let (start, end) = self.range;
        if to <= start || from >= end {
            return Ok(self.nodes.next().cloned());
        }
        if to - from == 1 {
            return Ok(self.leaves.next().cloned());
        }
        let middle = from.midpoint(to);
        let left = self.node(from, middle)?.ok_or(Flaw::LeftMissing)?;
        match self.node(middle, to)? {
            Some(right) => joined(self.params, &left, &right).map(Some),
            None => Ok(Some(left)),
        }
    }
}

fn joined(params: Params, left: &[u8], right: &[u8]) -> Result<Vec<u8>, Flaw> {
    let width = params.ns_size();
    if left[width..2 * width] > right[..width] {
        return Err(Flaw::Disorder);
    }
    Ok(inner(params, left, right))
}
