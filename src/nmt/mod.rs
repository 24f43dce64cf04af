//! Namespaced Merkle trees: one root for many leaves, each in a namespace, with proofs that a leaf
//! is there, and that some leaves are all there are in a namespace.
//!
//! ```text
//! node    min || max || digest                 the least and greatest namespace below it
//! leaf    ns || ns || H(0x00 || ns || data)
//! inner   l.min || r.max || H(0x01 || l || r)
//!
//!                 0..4                          four leaves of the namespaces a, a, b, d
//!            [a d | H(01 l r)]
//!             /             \                   a tree of n leaves splits at the largest power of
//!           0..2            2..4                two below n: nothing is padded or duplicated
//!       [a a | ...]      [b d | ...]
//!        /      \          /     \
//!      a "x"   a "y"    b "z"   d "w"
//! ```
//!
//! Leaves are in the order of their namespaces. Shape, leaf and inner rule are those of Celestia's
//! trees, bit for bit; hash, width of the namespaces and `ignore_max` are parameters. The shape is
//! that of RFC 6962, section 2.1: pair neighbours, carry the odd one.
//!
//! Sources: RFC 6962, section 2.1; Mustafa Al-Bassam, "LazyLedger: A Distributed Data Availability
//! Ledger With Client-Side Smart Contracts", 2019, section 5.2; the specification in the repository
//! of celestiaorg/nmt.

pub mod celestia;
mod fold;
mod json;
mod leaves;
mod node;
pub mod proof;
pub mod root;
mod runs;
pub mod tree;
pub mod verify;

pub use proof::{Kind, Proof, View};
pub use root::{Packed, root, root_packed, sorted_root, sorted_root_packed};
pub use tree::Tree;
pub use verify::{Pins, verify, verify_namespace, verify_range};

use crate::{
    error::{Error, Result},
    hash::{Algorithm, DIGEST_LEN, digest},
};

/// Bytes of the widest namespace.
pub const MAX_NS_SIZE: usize = 255;

/// The hashes that trees are made with; the place in the list, from 1 on, is the id in proofs.
pub const HASHES: [Algorithm; 3] = [Algorithm::Sha256, Algorithm::Blake3, Algorithm::Keccak256];

/// What a tree is made with. Trees of different parameters have different roots and proofs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Params {
    hash: Algorithm,
    ns_size: u8,
    ignore_max: bool,
}

impl Params {
    /// Parameters with `hash` (one of [`HASHES`]) and namespaces of `ns_size` bytes (1 to 255).
    ///
    /// With `ignore_max` the greatest namespace, all `0xff`, does not count for the labels of inner
    /// nodes, as in Celestia's trees, where it marks parity data. Nothing about it can be proved
    /// complete or absent then.
    ///
    /// # Errors
    /// [`Error::InvalidInput`]: another hash or width.
    pub fn new(hash: Algorithm, ns_size: usize, ignore_max: bool) -> Result<Self> {
        if !HASHES.contains(&hash) {
            return Err(unknown_hash(hash.name()));
        }
        match u8::try_from(ns_size) {
            Ok(ns_size) if ns_size > 0 => Ok(Self {
                hash,
                ns_size,
                ignore_max,
            }),
            _ => Err(Error::InvalidInput(format!(
                "ns_size must be 1 to {MAX_NS_SIZE}, got {ns_size}"
            ))),
        }
    }

    /// The hash.
    #[must_use]
    pub const fn hash(self) -> Algorithm {
        self.hash
    }

    /// Bytes of a namespace.
    #[must_use]
    pub const fn ns_size(self) -> usize {
        self.ns_size as usize
    }

    /// Whether the greatest namespace does not count for labels.
    #[must_use]
    pub const fn ignore_max(self) -> bool {
        self.ignore_max
    }

    /// Bytes of a node, and so of a root: two namespaces and a digest.
    #[must_use]
    pub const fn node_len(self) -> usize {
        2 * self.ns_size() + DIGEST_LEN
    }

    /// The root of no leaves: zero labels and the digest of nothing.
    #[must_use]
    pub fn empty_root(self) -> Vec<u8> {
        let mut root = vec![0; 2 * self.ns_size()];
        root.extend_from_slice(&digest(self.hash, b""));
        root
    }

    /// A node cut into least namespace, greatest namespace and digest; `None` if it is none: of
    /// another length, or with labels in the wrong order.
    #[must_use]
    pub fn split_node(self, node: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
        if node.len() != self.node_len() {
            return None;
        }
        let (min, rest) = node.split_at(self.ns_size());
        let (max, digest) = rest.split_at(self.ns_size());
        (min <= max).then_some((min, max, digest))
    }
}

/// The hash of that name, if trees are made with it.
///
/// # Errors
/// [`Error::InvalidInput`].
pub fn hash_of_name(name: &str) -> Result<Algorithm> {
    let found = HASHES.into_iter().find(|hash| hash.name() == name);
    found.ok_or_else(|| unknown_hash(name))
}

fn unknown_hash(name: &str) -> Error {
    let names = HASHES.map(Algorithm::name).join(", ");
    Error::InvalidInput(format!("{name:?} is no hash of trees; they are {names}"))
}

fn wrong_width(params: Params, ns: &[u8]) -> String {
    let (due, len) = (params.ns_size(), ns.len());
    format!("namespace must be {due} bytes, got {len}")
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
