//! Verifiers: what a proof shows about leaves, a namespace and a root.
//!
//! Proof, leaves, namespace and root may all come from an enemy. The answer to anything that is not
//! sound is no: nothing panics, and no more is hashed than the leaves and nodes at hand, whatever
//! indices a proof claims.
//!
//! What a tree cannot show: its labels are those that its builder chose, so "complete" is complete
//! for whoever made the root. Indices bind only together with the size of the tree ([`Pins`]).

use std::{
    ops::Range,
    sync::atomic::{AtomicBool, Ordering},
};

use super::{
    fold::{Leaves, Sides, fold, right_count},
    leaves::{Hashed, Source},
    node::Nodes,
};
use crate::{
    error::Result,
    hash::{Algorithm, Digest},
    nmt::{Kind, Params, View},
    pool::Cancel,
};

/// What the caller knows about the tree, and a proof must agree with.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pins {
    /// Its hash.
    pub hash: Option<Algorithm>,
    /// Its number of leaves. Without it a proof may claim another index for a leaf.
    pub size: Option<u64>,
    /// Whether the greatest namespace does not count for its labels. Without it an empty proof may
    /// claim that it does: the root alone does not tell, and the namespace then looks empty.
    pub ignore_max: Option<bool>,
}

/// Whether `leaf` is a leaf of `namespace` below `root`. For the bytes of a proof of inclusion or of
/// a whole namespace; over several leaves it must carry their nodes.
///
/// # Errors
/// [`crate::Error::Interrupted`]; bytes that are no proof are answered with `false`.
pub fn verify(
    proof: &[u8],
    leaf: &[u8],
    namespace: &[u8],
    root: &[u8],
    pins: Pins,
    cancel: &Cancel,
) -> Result<bool> {
    View::parse(proof).map_or(Ok(false), |proof| {
        proof.verify(leaf, namespace, root, pins, cancel)
    })
}

/// Whether `leaves` are neighbours in `namespace` below `root`. There may be more of them.
///
/// # Errors
/// As [`verify`].
pub fn verify_range(
    proof: &[u8],
    leaves: &[&[u8]],
    namespace: &[u8],
    root: &[u8],
    pins: Pins,
    cancel: &Cancel,
) -> Result<bool> {
    View::parse(proof).map_or(Ok(false), |proof| {
        proof.verify_range(leaves, namespace, root, pins, cancel)
    })
}

/// Whether `leaves` are all leaves of `namespace` below `root`, in order; none for a proof of absence.
///
/// # Errors
/// As [`verify`].
pub fn verify_namespace(
    proof: &[u8],
    leaves: &[&[u8]],
    namespace: &[u8],
    root: &[u8],
    pins: Pins,
    cancel: &Cancel,
) -> Result<bool> {
    View::parse(proof).map_or(Ok(false), |proof| {
        proof.verify_namespace(leaves, namespace, root, pins, cancel)
    })
}

impl View<'_> {
    /// As [`verify`].
    ///
    /// # Errors
    /// [`crate::Error::Interrupted`].
    pub fn verify(
        &self,
        leaf: &[u8],
        namespace: &[u8],
        root: &[u8],
        pins: Pins,
        cancel: &Cancel,
    ) -> Result<bool> {
        let is_sound = match self.kind {
            Kind::Inclusion => true,
            Kind::Namespace => self.is_complete(namespace),
            Kind::Absence | Kind::Empty => false,
        };
        if !(is_sound && self.fits(namespace, root, pins) && self.fits_size(pins)) {
            return Ok(false);
        }
        let leaves = &[leaf];
        let hashed = self.hashed(namespace, leaves);
        if self.leaf_nodes.len() == 0 {
            return Ok(self.end - self.start == 1 && self.leads_to(root, &hashed, cancel)?);
        }
        if !self.leaf_nodes_are_in(namespace) {
            return Ok(false);
        }
        let mut is_member = false;
        hashed.nodes(0..1, &mut Vec::new(), cancel, |_, _, digest| {
            let mut known = self.leaf_nodes.iter();
            is_member = known.any(|node| node.ends_with(digest));
        })?;
        Ok(is_member && self.leads_to(root, &self.given(), cancel)?)
    }

    /// As [`verify_range`].
    ///
    /// # Errors
    /// [`crate::Error::Interrupted`].
    pub fn verify_range(
        &self,
        leaves: &[&[u8]],
        namespace: &[u8],
        root: &[u8],
        pins: Pins,
        cancel: &Cancel,
    ) -> Result<bool> {
        let is_range = matches!(self.kind, Kind::Inclusion | Kind::Namespace);
        if !(is_range && self.fits(namespace, root, pins) && self.fits_size(pins)) {
            return Ok(false);
        }
        self.holds(leaves, namespace, root, cancel)
    }

    /// As [`verify_namespace`].
    ///
    /// # Errors
    /// [`crate::Error::Interrupted`].
    pub fn verify_namespace(
        &self,
        leaves: &[&[u8]],
        namespace: &[u8],
        root: &[u8],
        pins: Pins,
        cancel: &Cancel,
    ) -> Result<bool> {
        let params = self.params;
        if !self.fits(namespace, root, pins) || params.ignores(namespace) {
            return Ok(false);
        }
        match self.kind {
            Kind::Inclusion => Ok(false),
            Kind::Empty => {
                let is_outside = namespace < params.min(root) || params.max(root) < namespace;
                Ok(leaves.is_empty() && (is_outside || root == params.empty_root()))
            }
            Kind::Absence => {
                // A leaf, or a subtree whose leaves are all above the namespace.
                let is_above = |node| namespace < params.min(node);
                let is_sound = leaves.is_empty()
                    && self.leaf_nodes.iter().all(is_above)
                    && self.fits_size(pins)
                    && self.is_complete(namespace);
                Ok(is_sound && self.leads_to(root, &self.given(), cancel)?)
            }
            Kind::Namespace => {
                let is_sound = self.fits_size(pins) && self.is_complete(namespace);
                Ok(is_sound && self.holds(leaves, namespace, root, cancel)?)
            }
        }
    }

    fn fits(&self, namespace: &[u8], root: &[u8], pins: Pins) -> bool {
        namespace.len() == self.params.ns_size()
            && pins.hash.is_none_or(|hash| hash == self.params.hash())
            && pins
                .ignore_max
                .is_none_or(|flag| flag == self.params.ignore_max())
            && self.params.split_node(root).is_some()
    }

    /// Whether a tree of the pinned size has as many subtrees outside of the range.
    fn fits_size(&self, pins: Pins) -> bool {
        pins.size.is_none_or(|size| {
            let left = self.start.count_ones() as usize;
            self.end <= size && self.nodes.len() == left + right_count(self.end, size)
        })
    }

    /// Whether no leaf outside of the range can be in the namespace, by the labels of the nodes.
    fn is_complete(&self, namespace: &[u8]) -> bool {
        let params = self.params;
        let Sides { left, right } = Sides::around(self.nodes, self.start);
        // Where the greatest namespace is invisible, nothing can be said about it.
        namespace.len() == params.ns_size()
            && !params.ignores(namespace)
            && left.iter().all(|node| params.max(node) < namespace)
            && right.iter().all(|node| namespace < params.min(node))
    }

    /// Whether `leaves` are in the range, with the same nodes that the proof carries, if it does.
    fn holds(
        &self,
        leaves: &[&[u8]],
        namespace: &[u8],
        root: &[u8],
        cancel: &Cancel,
    ) -> Result<bool> {
        if leaves.len() as u64 != self.end - self.start || !self.leaf_nodes_are_in(namespace) {
            return Ok(false);
        }
        let hashed = self.hashed(namespace, leaves);
        if self.leaf_nodes.len() == 0 {
            return self.leads_to(root, &hashed, cancel);
        }
        let compared = Compared {
            hashed,
            known: self.leaf_nodes,
            differs: AtomicBool::new(false),
        };
        let is_rooted = self.leads_to(root, &compared, cancel)?;
        Ok(is_rooted && !compared.differs.into_inner())
    }

    fn leaf_nodes_are_in(&self, namespace: &[u8]) -> bool {
        let params = self.params;
        let mut nodes = self.leaf_nodes.iter();
        nodes.all(|node| params.min(node) == namespace && params.max(node) == namespace)
    }

    fn leads_to(&self, root: &[u8], leaves: &impl Leaves, cancel: &Cancel) -> Result<bool> {
        let sides = Sides::around(self.nodes, self.start);
        let found = fold(self.params, self.start, leaves, sides, cancel)?;
        Ok(found.is_some_and(|found| found.bytes() == root))
    }

    fn hashed<'a>(&self, namespace: &'a [u8], leaves: &'a [&'a [u8]]) -> Hashed<OneNamespace<'a>> {
        let source = OneNamespace { namespace, leaves };
        let params = self.params;
        Hashed { params, source }
    }

    fn given(&self) -> Given<'_> {
        Given {
            params: self.params,
            nodes: self.leaf_nodes,
        }
    }
}

/// Leaves that are said to be in one namespace, of the right width.
struct OneNamespace<'a> {
    namespace: &'a [u8],
    leaves: &'a [&'a [u8]],
}

impl Source for OneNamespace<'_> {
    fn count(&self) -> usize {
        self.leaves.len()
    }

    fn len(&self) -> usize {
        self.leaves.iter().map(|leaf| leaf.len()).sum()
    }

    fn get(&self, index: usize) -> Result<(&[u8], &[u8])> {
        Ok((self.namespace, self.leaves[index]))
    }

    fn checked(&self, _: Params, index: usize) -> Result<(&[u8], &[u8])> {
        self.get(index)
    }
}

/// Leaves whose nodes the proof carries.
struct Given<'a> {
    params: Params,
    nodes: Nodes<'a>,
}

impl Leaves for Given<'_> {
    fn count(&self) -> usize {
        self.nodes.len()
    }

    fn weight(&self) -> usize {
        self.nodes.len() * self.params.record_len()
    }

    fn nodes(
        &self,
        range: Range<usize>,
        _: &mut Vec<u8>,
        _: &Cancel,
        mut put: impl FnMut(usize, [&[u8]; 2], &Digest),
    ) -> Result<()> {
        for index in range {
            let node = self.nodes.get(index);
            if let Some((_, digest)) = node.split_last_chunk() {
                put(
                    index,
                    [self.params.min(node), self.params.max(node)],
                    digest,
                );
            }
        }
        Ok(())
    }
}

/// Leaves that are hashed, and compared with the nodes that the proof carries.
struct Compared<'a> {
    hashed: Hashed<OneNamespace<'a>>,
    known: Nodes<'a>,
    differs: AtomicBool,
}

impl Leaves for Compared<'_> {
    fn count(&self) -> usize {
        self.hashed.count()
    }

    fn weight(&self) -> usize {
        self.hashed.weight()
    }

    fn nodes(
        &self,
        range: Range<usize>,
        arena: &mut Vec<u8>,
        cancel: &Cancel,
        mut put: impl FnMut(usize, [&[u8]; 2], &Digest),
    ) -> Result<()> {
        self.hashed
            .nodes(range, arena, cancel, |index, labels, digest| {
                if !self.known.get(index).ends_with(digest) {
                    self.differs.store(true, Ordering::Relaxed);
                }
                put(index, labels, digest);
            })
    }
}
