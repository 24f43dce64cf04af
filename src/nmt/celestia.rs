//! Celestia's encodings of a proof: protobuf, and the JSON that Go prints.
//!
//! ```text
//! message Proof {
//!   int64 start = 1;             int64 end = 2;
//!   repeated bytes nodes = 3;    bytes leaf_hash = 4;
//!   bool is_max_namespace_ignored = 5;
//! }
//! ```
//!
//! Both leave out what is zero. They name neither hash nor width, nor whether a proof of leaves is
//! meant to be of all leaves of the namespace: whoever imports one says so ([`Import`]). Leaf nodes of
//! a proof of leaves have no place in them and are left out.

use super::json;
use crate::{
    error::{Error, Result},
    nmt::{Kind, Params, Proof, proof::MAX_NODES},
};

const VARINT: u32 = 0;
const FIXED_64: u32 = 1;
const BYTES: u32 = 2;
const GROUP: u32 = 3;
const GROUP_END: u32 = 4;
const FIXED_32: u32 = 5;

/// Groups within groups that are skipped; nobody writes any.
const MAX_DEPTH: usize = 32;
const MAX_FIELD: u64 = (1 << 29) - 1;

/// What an imported proof does not say of itself.
#[derive(Debug, Clone, Copy)]
pub struct Import {
    /// Hash and width; its `ignore_max` counts only if `force` is set.
    pub params: Params,
    /// Takes `ignore_max` from `params` instead of the proof. Some services leave the flag out
    /// although their trees use it.
    pub force: bool,
    /// What a proof of leaves is: of inclusion, or of a whole namespace.
    pub kind: Kind,
}

/// The fields of both encodings.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub start: u64,
    pub end: u64,
    pub nodes: Vec<u8>,
    pub leaf_hash: Vec<u8>,
    pub ignore_max: bool,
}

impl Fields {
    pub fn push_node(&mut self, params: Params, node: &[u8]) -> Result<()> {
        if node.len() != params.node_len() {
            return Err(Error::ProofFormat("a node has another length"));
        }
        if self.nodes.len() == MAX_NODES * node.len() {
            return Err(Error::ProofFormat("too many nodes"));
        }
        self.nodes.extend_from_slice(node);
        Ok(())
    }

    fn into_proof(self, import: Import) -> Result<Proof> {
        let Import {
            params,
            force,
            kind,
        } = import;
        if !matches!(kind, Kind::Inclusion | Kind::Namespace) {
            return Err(Error::InvalidInput(format!(
                "a proof of leaves is inclusion or namespace, not {}",
                kind.name()
            )));
        }
        let ignore_max = if force {
            params.ignore_max()
        } else {
            self.ignore_max
        };
        let params = Params::new(params.hash(), params.ns_size(), ignore_max)?;
        let is_bare = self.start == 0 && self.end == 0 && self.nodes.is_empty();
        let kind = match self.leaf_hash.len() {
            0 if is_bare => Kind::Empty,
            0 => kind,
            _ => Kind::Absence,
        };
        let range = (self.start, self.end);
        Proof::new(kind, params, range, self.nodes, self.leaf_hash)
    }
}

impl Proof {
    /// Reads Celestia's protobuf.
    ///
    /// # Errors
    /// [`Error::ProofFormat`]; [`Error::InvalidInput`] for a kind that is no proof of leaves.
    pub fn from_celestia_protobuf(bytes: &[u8], import: Import) -> Result<Self> {
        read_protobuf(bytes, import.params)?.into_proof(import)
    }

    /// The proof as Celestia's protobuf.
    #[must_use]
    pub fn to_celestia_protobuf(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (field, number) in [(1, self.start()), (2, self.end())] {
            if number > 0 {
                put_varint(&mut bytes, tag(field, VARINT));
                put_varint(&mut bytes, number);
            }
        }
        let nodes = self.nodes().map(|node| (3, node));
        for (field, node) in nodes.chain(self.leaf_hash().map(|node| (4, node))) {
            put_varint(&mut bytes, tag(field, BYTES));
            put_varint(&mut bytes, node.len() as u64);
            bytes.extend_from_slice(node);
        }
        if self.params().ignore_max() {
            put_varint(&mut bytes, tag(5, VARINT));
            put_varint(&mut bytes, 1);
        }
        bytes
    }

    /// Reads Celestia's JSON. Unknown members are skipped, null counts as left out.
    ///
    /// # Errors
    /// As [`Proof::from_celestia_protobuf`].
    pub fn from_celestia_json(text: &str, import: Import) -> Result<Self> {
        json::read(text, import.params)?.into_proof(import)
    }

    /// The proof as Celestia's JSON.
    #[must_use]
    pub fn to_celestia_json(&self) -> String {
        json::write(self)
    }

    /// The one leaf node that the encodings have a place for.
    pub(super) fn leaf_hash(&self) -> Option<&[u8]> {
        let mut nodes = self.leaf_nodes();
        nodes.next().filter(|_| self.kind() == Kind::Absence)
    }
}

fn read_protobuf(bytes: &[u8], params: Params) -> Result<Fields> {
    let mut fields = Fields::default();
    let mut rest = Wire(bytes);
    while !rest.0.is_empty() {
        // Of a field that comes twice the last one counts, as everywhere in protobuf.
        match rest.tag()? {
            (1, VARINT) => fields.start = rest.index()?,
            (2, VARINT) => fields.end = rest.index()?,
            (3, BYTES) => {
                let node = rest.bytes()?;
                fields.push_node(params, node)?;
            }
            (4, BYTES) => fields.leaf_hash = rest.leaf_hash(params)?.to_vec(),
            (5, VARINT) => fields.ignore_max = rest.varint()? != 0,
            (1..=5, _) => return Err(Error::ProofFormat("a field of another wire type")),
            (field, kind) => rest.skip(field, kind)?,
        }
    }
    Ok(fields)
}

/// Protobuf bytes, taken from the front.
struct Wire<'a>(&'a [u8]);

impl<'a> Wire<'a> {
    fn varint(&mut self) -> Result<u64> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let Some((&byte, rest)) = self.0.split_first() else {
                return Err(Error::ProofFormat("cut short"));
            };
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Error::ProofFormat("a number beyond 64 bits"))
    }

    /// An `int64` that is not negative.
    fn index(&mut self) -> Result<u64> {
        let number = self.varint()?;
        match i64::try_from(number) {
            Ok(_) => Ok(number),
            Err(_) => Err(Error::ProofFormat("a negative index")),
        }
    }

    fn tag(&mut self) -> Result<(u64, u32)> {
        let tag = self.varint()?;
        match (tag >> 3, (tag & 7) as u32) {
            (1..=MAX_FIELD, _) => Ok((tag >> 3, (tag & 7) as u32)),
            _ => Err(Error::ProofFormat("no field number")),
        }
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8]> {
        let split = usize::try_from(len)
            .ok()
            .and_then(|len| self.0.split_at_checked(len));
        let (bytes, rest) = split.ok_or(Error::ProofFormat("cut short"))?;
        self.0 = rest;
        Ok(bytes)
    }

    fn bytes(&mut self) -> Result<&'a [u8]> {
        let len = self.varint()?;
        self.take(len)
    }

    fn leaf_hash(&mut self, params: Params) -> Result<&'a [u8]> {
        let node = self.bytes()?;
        if node.is_empty() || node.len() == params.node_len() {
            Ok(node)
        } else {
            Err(Error::ProofFormat("a node has another length"))
        }
    }

    /// Skips what follows the tag of an unknown field.
    fn skip(&mut self, field: u64, kind: u32) -> Result<()> {
        let (mut field, mut kind) = (field, kind);
        // The groups that are open.
        let mut groups = Vec::new();
        loop {
            match kind {
                VARINT => drop(self.varint()?),
                FIXED_64 => drop(self.take(8)?),
                BYTES => drop(self.bytes()?),
                FIXED_32 => drop(self.take(4)?),
                GROUP if groups.len() < MAX_DEPTH => groups.push(field),
                GROUP_END if groups.pop() == Some(field) => {}
                _ => return Err(Error::ProofFormat("a wire type that cannot be skipped")),
            }
            if groups.is_empty() {
                return Ok(());
            }
            (field, kind) = self.tag()?;
        }
    }
}

const fn tag(field: u64, kind: u32) -> u64 {
    field << 3 | kind as u64
}

fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}
