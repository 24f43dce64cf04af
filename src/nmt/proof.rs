//! Proofs and their bytes.
//!
//! ```text
//! "NMTP" version:u8=1 kind:u8 hash:u8 ns_size:u8 flags:u8 zero:u8     big-endian throughout
//! node_count:u16 leaf_node_count:u32 start:u64 end:u64
//! nodes, then leaf nodes, each of 2 * ns_size + 32 bytes; the input ends exactly there
//! ```
//!
//! A proof is about the leaves `start..end`. Its nodes are the maximal subtrees left and right of
//! them, in tree order. The leaf nodes are those of the range itself, where a proof carries them;
//! that of an absence is the first leaf above the absent namespace. Fixed widths leave one encoding
//! for each proof, and all rules about its shape are checked before anything is hashed.

use super::node::Nodes;
use crate::{
    error::{Error, Result},
    nmt::{HASHES, Params},
};

/// The first bytes of a proof.
pub const MAGIC: [u8; 4] = *b"NMTP";
/// Length of what stands before the nodes, in bytes.
pub const HEADER_LEN: usize = 32;
/// Most nodes: a side of the range has at most 64.
pub const MAX_NODES: usize = 128;
/// Most leaf nodes.
pub const MAX_LEAF_NODES: usize = 1 << 20;
/// Largest end of a range.
pub const MAX_END: u64 = 1 << 62;
/// Longest proof, in bytes.
pub const MAX_PROOF_LEN: usize = 64 << 20;

const VERSION: u8 = 1;
const FLAG_IGNORE_MAX: u8 = 1;

/// What a proof says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Some leaves of a namespace are at these places.
    Inclusion = 1,
    /// These are all leaves of the namespace.
    Namespace = 2,
    /// There are none, between two neighbouring leaves.
    Absence = 3,
    /// There are none, because the root does not reach as far, or the tree is empty.
    Empty = 4,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Inclusion, Self::Namespace, Self::Absence, Self::Empty];

    /// The name that Python callers see.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inclusion => "inclusion",
            Self::Namespace => "namespace",
            Self::Absence => "absence",
            Self::Empty => "empty",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A proof in borrowed bytes, of sound shape.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    pub(super) kind: Kind,
    pub(super) params: Params,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) nodes: Nodes<'a>,
    pub(super) leaf_nodes: Nodes<'a>,
}

impl<'a> View<'a> {
    /// Reads the bytes of a proof, and checks its shape.
    ///
    /// # Errors
    /// [`Error::ProofFormat`]. Nothing is allocated.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let Some((header, body)) = bytes.split_first_chunk::<HEADER_LEN>() else {
            return Err(Error::ProofFormat("shorter than a header"));
        };
        let [
            m0,
            m1,
            m2,
            m3,
            version,
            kind,
            hash,
            ns_size,
            flags,
            zero,
            counts @ ..,
        ] = *header;
        if [m0, m1, m2, m3] != MAGIC || version != VERSION {
            return Err(Error::ProofFormat("no NMTP v1 header"));
        }
        let kind = Kind::ALL.into_iter().find(|known| *known as u8 == kind);
        let hash = HASHES.get(usize::from(hash).wrapping_sub(1));
        let (Some(kind), Some(&hash)) = (kind, hash) else {
            return Err(Error::ProofFormat("unknown kind or hash"));
        };
        if flags > FLAG_IGNORE_MAX || zero != 0 {
            return Err(Error::ProofFormat("reserved bits are set"));
        }
        let ignore_max = flags == FLAG_IGNORE_MAX;
        let params = Params::new(hash, usize::from(ns_size), ignore_max)
            .map_err(|_| Error::ProofFormat("namespaces of no bytes"))?;
        let [n0, n1, l0, l1, l2, l3, range @ ..] = counts;
        let node_count = usize::from(u16::from_be_bytes([n0, n1]));
        let leaf_node_count = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        let [s0, s1, s2, s3, s4, s5, s6, s7, end @ ..] = range;
        let start = u64::from_be_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
        let end = u64::from_be_bytes(end);
        if node_count > MAX_NODES || leaf_node_count > MAX_LEAF_NODES {
            return Err(Error::ProofFormat("too many nodes"));
        }
        if body.len() != (node_count + leaf_node_count) * params.node_len() {
            return Err(Error::ProofFormat("its length does not match its counts"));
        }
        let (nodes, leaf_nodes) = body.split_at(node_count * params.node_len());
        let view = Self {
            kind,
            params,
            start,
            end,
            nodes: Nodes::new(params, nodes),
            leaf_nodes: Nodes::new(params, leaf_nodes),
        };
        view.check_shape()?;
        Ok(view)
    }

    /// The rules that leave one encoding for each proof.
    fn check_shape(&self) -> Result<()> {
        let (nodes, leaf_nodes) = (self.nodes.len(), self.leaf_nodes.len());
        let node_len = self.params.node_len();
        if nodes > MAX_NODES || leaf_nodes > MAX_LEAF_NODES {
            return Err(Error::ProofFormat("too many nodes"));
        }
        if HEADER_LEN + (nodes + leaf_nodes) * node_len > MAX_PROOF_LEN {
            return Err(Error::ProofFormat("longer than 64 MiB"));
        }
        if self.kind == Kind::Empty {
            return if self.start == 0 && self.end == 0 && nodes == 0 && leaf_nodes == 0 {
                Ok(())
            } else {
                Err(Error::ProofFormat("an empty proof carries nothing"))
            };
        }
        if self.start >= self.end || self.end > MAX_END {
            return Err(Error::ProofFormat("its range is empty or too far out"));
        }
        let count = self.end - self.start;
        if self.kind == Kind::Absence {
            if count != 1 || leaf_nodes != 1 {
                return Err(Error::ProofFormat("an absence has exactly one leaf node"));
            }
        } else if leaf_nodes != 0 && leaf_nodes as u64 != count {
            return Err(Error::ProofFormat("its leaf nodes do not cover its range"));
        }
        let left = self.start.count_ones() as usize;
        if !(left..=left + 64).contains(&nodes) {
            return Err(Error::ProofFormat("its node count does not fit its range"));
        }
        let mut all = self.nodes.iter().chain(self.leaf_nodes.iter());
        if all.any(|node| self.params.min(node) > self.params.max(node)) {
            return Err(Error::ProofFormat(
                "a node has its labels in the wrong order",
            ));
        }
        Ok(())
    }
}

/// A proof, of sound shape. Whether it holds is what `verify` says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Proof {
    kind: Kind,
    params: Params,
    start: u64,
    end: u64,
    nodes: Vec<u8>,
    leaf_nodes: Vec<u8>,
}

impl Proof {
    /// A proof from its parts; `nodes` and `leaf_nodes` are joined.
    ///
    /// # Errors
    /// [`Error::ProofFormat`]: the parts do not make a proof.
    pub fn new(
        kind: Kind,
        params: Params,
        (start, end): (u64, u64),
        nodes: Vec<u8>,
        leaf_nodes: Vec<u8>,
    ) -> Result<Self> {
        let node_len = params.node_len();
        if !nodes.len().is_multiple_of(node_len) || !leaf_nodes.len().is_multiple_of(node_len) {
            return Err(Error::ProofFormat("a node has another length"));
        }
        let proof = Self {
            kind,
            params,
            start,
            end,
            nodes,
            leaf_nodes,
        };
        proof.view().check_shape()?;
        Ok(proof)
    }

    /// The proof that says nothing but that the namespace is outside of the root's labels.
    #[must_use]
    pub(super) const fn empty(params: Params) -> Self {
        Self {
            kind: Kind::Empty,
            params,
            start: 0,
            end: 0,
            nodes: Vec::new(),
            leaf_nodes: Vec::new(),
        }
    }

    /// Reads the bytes of a proof.
    ///
    /// # Errors
    /// [`Error::ProofFormat`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let view = View::parse(bytes)?;
        let at = HEADER_LEN + view.nodes.len() * view.params.node_len();
        Ok(Self {
            kind: view.kind,
            params: view.params,
            start: view.start,
            end: view.end,
            nodes: bytes[HEADER_LEN..at].to_vec(),
            leaf_nodes: bytes[at..].to_vec(),
        })
    }

    /// The bytes of the proof.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let view = self.view();
        let hash = HASHES.iter().position(|hash| *hash == self.params.hash());
        let hash = hash.map_or(0, |at| at as u8 + 1);
        let (kind, ns_size) = (self.kind as u8, self.params.ns_size() as u8);
        let flags = u8::from(self.params.ignore_max());
        let mut bytes = Vec::with_capacity(self.encoded_len());
        bytes.extend(MAGIC);
        bytes.extend([VERSION, kind, hash, ns_size, flags, 0]);
        bytes.extend((view.nodes.len() as u16).to_be_bytes());
        bytes.extend((view.leaf_nodes.len() as u32).to_be_bytes());
        bytes.extend(self.start.to_be_bytes());
        bytes.extend(self.end.to_be_bytes());
        bytes.extend_from_slice(&self.nodes);
        bytes.extend_from_slice(&self.leaf_nodes);
        bytes
    }

    /// Length of [`Proof::to_bytes`].
    #[must_use]
    pub const fn encoded_len(&self) -> usize {
        HEADER_LEN + self.nodes.len() + self.leaf_nodes.len()
    }

    /// The proof as the verifiers take it.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View {
            kind: self.kind,
            params: self.params,
            start: self.start,
            end: self.end,
            nodes: Nodes::new(self.params, &self.nodes),
            leaf_nodes: Nodes::new(self.params, &self.leaf_nodes),
        }
    }

    /// What it says.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// What the tree is made with.
    #[must_use]
    pub const fn params(&self) -> Params {
        self.params
    }

    /// Index of the first leaf that it is about.
    #[must_use]
    pub const fn start(&self) -> u64 {
        self.start
    }

    /// One past the last.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// The maximal subtrees outside of the range, in tree order.
    pub fn nodes(&self) -> impl Iterator<Item = &[u8]> {
        self.view().nodes.iter()
    }

    /// The nodes of the leaves, where the proof carries them.
    pub fn leaf_nodes(&self) -> impl Iterator<Item = &[u8]> {
        self.view().leaf_nodes.iter()
    }
}
