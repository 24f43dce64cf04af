//! Where leaves come from, and how they are hashed.

use std::{cmp::Ordering, ops::Range};

use rayon::prelude::*;

use super::{
    fold::{BATCH, Leaves},
    node::{LEAF_PREFIX, is_below},
};
use crate::{
    error::{Error, Result},
    hash::{DIGEST_LEN, Digest, Hasher, digest, digest_many},
    nmt::{Packed, Params, hex, wrong_width},
    pool::{self, Cancel},
};

/// A leaf weighs as much as this many bytes, however short it is: three blocks to hash, and a share
/// of the overhead.
const LEAF_WEIGHT: usize = 256;
/// Preimages are gathered up to this many bytes before they are hashed.
const ARENA_LEN: usize = 192 << 10;
/// A longer leaf is hashed where it lies. Copying a shorter one costs a tenth of hashing it, and
/// lets it share the lanes with its neighbours.
const LONG: usize = 64 << 10;

/// Where leaves come from.
pub trait Source: Sync {
    fn count(&self) -> usize;

    /// Bytes of all leaves.
    fn len(&self) -> usize;

    /// Namespace and data of a leaf, as they lie.
    fn get(&self, index: usize) -> Result<(&[u8], &[u8])>;

    /// As [`Source::get`], with the namespace of the right width and not below its predecessor.
    fn checked(&self, params: Params, index: usize) -> Result<(&[u8], &[u8])> {
        let (ns, data) = self.get(index)?;
        if ns.len() != params.ns_size() {
            let problem = wrong_width(params, ns);
            return Err(Error::InvalidInput(format!("leaf {index}: {problem}")));
        }
        if index > 0 {
            let (before, _) = self.get(index - 1)?;
            if is_below(ns, before) {
                return Err(descending(index, ns, before));
            }
        }
        Ok((ns, data))
    }
}

pub fn descending(index: usize, ns: &[u8], before: &[u8]) -> Error {
    Error::InvalidInput(format!(
        "leaf {index}: namespace {} is smaller than its predecessor {}",
        hex(ns),
        hex(before)
    ))
}

/// Leaves and namespaces in slices of their own.
pub struct Slices<'a> {
    leaves: &'a [&'a [u8]],
    namespaces: &'a [&'a [u8]],
}

impl<'a> Slices<'a> {
    pub fn new(leaves: &'a [&'a [u8]], namespaces: &'a [&'a [u8]]) -> Result<Self> {
        let counts = (leaves.len(), namespaces.len());
        if counts.0 != counts.1 {
            let text = format!("{} leaves but {} namespaces", counts.0, counts.1);
            return Err(Error::InvalidInput(text));
        }
        Ok(Self { leaves, namespaces })
    }
}

impl Source for Slices<'_> {
    fn count(&self) -> usize {
        self.leaves.len()
    }

    fn len(&self) -> usize {
        self.leaves.iter().map(|leaf| leaf.len()).sum()
    }

    fn get(&self, index: usize) -> Result<(&[u8], &[u8])> {
        Ok((self.namespaces[index], self.leaves[index]))
    }
}

impl<'a> Packed<'a> {
    /// Fails if there are not as many namespaces as leaves.
    pub(super) fn checked(self, params: Params) -> Result<Even<'a>> {
        let Some(count) = self.offsets.len().checked_sub(1) else {
            return Err(Error::InvalidInput(
                "offsets must have one more than there are leaves, got none".into(),
            ));
        };
        let (due, len) = (
            count.saturating_mul(params.ns_size()),
            self.namespaces.len(),
        );
        if due != len {
            return Err(Error::InvalidInput(format!(
                "namespaces of {count} leaves take {due} bytes, got {len}"
            )));
        }
        Ok(Even {
            packed: self,
            count,
            ns_size: params.ns_size(),
        })
    }
}

/// As many namespaces as leaves.
pub struct Even<'a> {
    packed: Packed<'a>,
    count: usize,
    ns_size: usize,
}

impl Source for Even<'_> {
    fn count(&self) -> usize {
        self.count
    }

    fn len(&self) -> usize {
        self.packed.data.len()
    }

    fn get(&self, index: usize) -> Result<(&[u8], &[u8])> {
        let Packed {
            data,
            offsets,
            namespaces,
        } = self.packed;
        let (from, to) = (offsets[index], offsets[index + 1]);
        let range = usize::try_from(from).ok().zip(usize::try_from(to).ok());
        let Some(leaf) = range.and_then(|(from, to)| data.get(from..to)) else {
            return Err(Error::InvalidInput(format!(
                "leaf {index}: offsets {from} to {to} are no range of {} bytes",
                data.len()
            )));
        };
        let at = index * self.ns_size;
        Ok((&namespaces[at..at + self.ns_size], leaf))
    }
}

/// Leaves in the order of their namespaces; those of one namespace keep theirs.
pub struct Sorted<S> {
    source: S,
    order: Vec<usize>,
}

impl<S: Source> Sorted<S> {
    pub fn new(params: Params, source: S) -> Result<Self> {
        let mut keyed = Vec::with_capacity(source.count());
        for index in 0..source.count() {
            let (ns, _) = source.get(index)?;
            if ns.len() != params.ns_size() {
                let problem = wrong_width(params, ns);
                return Err(Error::InvalidInput(format!("leaf {index}: {problem}")));
            }
            keyed.push((ns, index));
        }
        let compare = |a: &(&[u8], usize), b: &(&[u8], usize)| -> Ordering { a.0.cmp(b.0) };
        if pool::workers() < 2 {
            keyed.sort_by(compare);
        } else {
            keyed.par_sort_by(compare);
        }
        let order = keyed.into_iter().map(|(_, index)| index).collect();
        Ok(Self { source, order })
    }
}

impl<S: Source> Source for Sorted<S> {
    fn count(&self) -> usize {
        self.order.len()
    }

    fn len(&self) -> usize {
        self.source.len()
    }

    fn get(&self, index: usize) -> Result<(&[u8], &[u8])> {
        self.source.get(self.order[index])
    }
}

/// Leaves that are hashed.
pub struct Hashed<S> {
    pub params: Params,
    pub source: S,
}

impl<S: Source> Leaves for Hashed<S> {
    fn count(&self) -> usize {
        self.source.count()
    }

    fn weight(&self) -> usize {
        self.source.len() + self.source.count() * LEAF_WEIGHT
    }

    fn nodes(
        &self,
        range: Range<usize>,
        arena: &mut Vec<u8>,
        cancel: &Cancel,
        mut put: impl FnMut(usize, [&[u8]; 2], &Digest),
    ) -> Result<()> {
        let (params, mut at) = (self.params, range.start);
        while at < range.end {
            cancel.check()?;
            let (ns, data) = self.source.checked(params, at)?;
            if data.len() > LONG || range.len() == 1 {
                put(at, [ns, ns], &leaf_digest(params, ns, data, arena));
                at += 1;
                continue;
            }
            arena.clear();
            let (mut ends, mut count) = ([0; BATCH], 0);
            for end in ends.iter_mut().take(range.end - at) {
                let (ns, data) = self.source.checked(params, at + count)?;
                if data.len() > LONG || arena.len() > ARENA_LEN {
                    break;
                }
                push_leaf(arena, ns, data);
                *end = arena.len();
                count += 1;
            }
            let mut messages: [&[u8]; BATCH] = [&[]; BATCH];
            let mut rest = arena.as_slice();
            let mut start = 0;
            for (message, end) in messages.iter_mut().zip(&ends[..count]) {
                (*message, rest) = rest.split_at(end - start);
                start = *end;
            }
            let mut digests = [[0; DIGEST_LEN]; BATCH];
            digest_many(params.hash(), &messages[..count], &mut digests[..count]);
            for (message, digest) in messages[..count].iter().zip(&digests) {
                let ns = &message[1..=params.ns_size()];
                put(at, [ns, ns], digest);
                at += 1;
            }
        }
        Ok(())
    }
}

/// The digest of one leaf on its own.
fn leaf_digest(params: Params, ns: &[u8], data: &[u8], arena: &mut Vec<u8>) -> Digest {
    if data.len() <= LONG {
        arena.clear();
        push_leaf(arena, ns, data);
        return digest(params.hash(), arena);
    }
    let mut hasher = Hasher::new(params.hash());
    for piece in [&[LEAF_PREFIX], ns, data] {
        hasher.update(piece);
    }
    hasher.digest()
}

/// Appends the preimage of a leaf.
fn push_leaf(arena: &mut Vec<u8>, ns: &[u8], data: &[u8]) {
    arena.reserve(1 + ns.len() + data.len());
    arena.push(LEAF_PREFIX);
    arena.extend_from_slice(ns);
    arena.extend_from_slice(data);
}
