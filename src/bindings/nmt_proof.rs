//! `Proof`, and `nmt_verify` and its kin.

use pyo3::{
    Borrowed,
    exceptions::PyOverflowError,
    prelude::*,
    types::{PyBytes, PyString, PyTuple},
};

use super::{
    batch::pooled,
    buffer::Input,
    nmt::{params_of, slices, values_of},
    run::{Work, run},
};
use crate::{
    error::{Error, Result},
    hash::Algorithm,
    nmt::{self, Kind, Pins, View, celestia::Import},
    pool::Cancel,
};

/// Proofs up to this length are checked in microseconds.
const SMALL: usize = 8 << 10;
/// Bytes to hash for each byte of a proof.
const HASHED: usize = 4;

/// A proof about leaves, a namespace and the root of a tree. Whether it holds is what ``verify``,
/// ``verify_range`` and ``verify_namespace`` say.
///
/// Proofs are values: they compare, hash, pickle, and never change.
///
/// Args:
///     data: The bytes of the proof.
///
/// Raises:
///     ProofFormatError: The bytes are no proof.
#[pyclass(module = "shardpack.nmt", frozen, eq, hash)]
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Proof(nmt::Proof);

impl From<nmt::Proof> for Proof {
    fn from(proof: nmt::Proof) -> Self {
        Self(proof)
    }
}

#[pymethods]
impl Proof {
    #[new]
    #[pyo3(signature = (data, /))]
    fn new(data: Input) -> PyResult<Self> {
        Ok(Self(nmt::Proof::from_bytes(data.bytes())?))
    }

    /// Read the bytes of a proof.
    ///
    /// Args:
    ///     data: What ``to_bytes`` gave.
    ///
    /// Returns:
    ///     The proof.
    ///
    /// Raises:
    ///     ProofFormatError: The bytes are no proof.
    #[staticmethod]
    #[pyo3(signature = (data, /))]
    fn from_bytes(data: Input) -> PyResult<Self> {
        Self::new(data)
    }

    /// The proof as bytes; there is one encoding for each proof.
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.to_bytes())
    }

    fn __bytes__<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        self.to_bytes(py)
    }

    fn __getnewargs__<'py>(&self, py: Python<'py>) -> (Bound<'py, PyBytes>,) {
        (self.to_bytes(py),)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let hex = self.to_bytes(py).call_method0("hex")?;
        Ok(format!("Proof(bytes.fromhex('{hex}'))"))
    }

    /// ``"inclusion"``, ``"namespace"``, ``"absence"`` or ``"empty"``.
    #[getter]
    fn kind(&self) -> &'static str {
        self.0.kind().name()
    }

    /// Index of the first leaf that the proof is about.
    #[getter]
    fn start(&self) -> u64 {
        self.0.start()
    }

    /// One past the last.
    #[getter]
    fn end(&self) -> u64 {
        self.0.end()
    }

    /// The maximal subtrees outside of the range, in tree order.
    #[getter]
    fn nodes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        tuple(py, self.0.nodes())
    }

    /// The nodes of the leaves in the range, where the proof carries them.
    #[getter]
    fn leaf_nodes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        tuple(py, self.0.leaf_nodes())
    }

    /// The name of the hash.
    #[getter]
    fn hash(&self) -> &'static str {
        self.0.params().hash().name()
    }

    /// Bytes of a namespace.
    #[getter]
    fn ns_size(&self) -> usize {
        self.0.params().ns_size()
    }

    /// Whether the namespace of all ``0xff`` does not count for labels.
    #[getter]
    fn ignore_max_namespace(&self) -> bool {
        self.0.params().ignore_max()
    }

    /// Read a proof in Celestia's JSON.
    ///
    /// Args:
    ///     data: The text, or its UTF-8 bytes.
    ///     kind: What a proof of leaves is, ``"inclusion"`` or ``"namespace"``: the JSON does not say.
    ///     ns_size: Bytes of a namespace.
    ///     ignore_max: The flag of the tree; None takes it from the JSON, which some services leave
    ///         out although their trees have it.
    ///     hash: The hash of the tree.
    ///
    /// Returns:
    ///     The proof.
    ///
    /// Raises:
    ///     ProofFormatError: The text is no such proof.
    ///     InvalidInput: Another kind, width or hash.
    #[staticmethod]
    #[pyo3(signature = (data, *, kind, ns_size=29, ignore_max=None, hash="sha256"))]
    fn from_celestia_json(
        data: &Bound<'_, PyAny>,
        kind: &str,
        ns_size: i64,
        ignore_max: Option<bool>,
        hash: &str,
    ) -> PyResult<Self> {
        let import = import_of(kind, ns_size, ignore_max, hash)?;
        let not_text = |_| Error::ProofFormat("no UTF-8");
        let proof = if let Ok(text) = data.cast::<PyString>() {
            let text = text.to_str().map_err(|_| Error::ProofFormat("no UTF-8"))?;
            nmt::Proof::from_celestia_json(text, import)
        } else {
            let bytes: Input = data.extract()?;
            let text = str::from_utf8(bytes.bytes()).map_err(not_text)?;
            nmt::Proof::from_celestia_json(text, import)
        };
        Ok(Self(proof?))
    }

    /// The proof in the JSON that Celestia's Go code prints. Leaf nodes of a proof of leaves, hash
    /// and width have no place there.
    fn to_celestia_json(&self) -> String {
        self.0.to_celestia_json()
    }

    /// Read a proof in Celestia's protobuf.
    ///
    /// Args:
    ///     data: The bytes of the message.
    ///     kind: As for ``from_celestia_json``, and so are the others.
    ///     ns_size: Bytes of a namespace.
    ///     ignore_max: The flag of the tree; None takes it from the message.
    ///     hash: The hash of the tree.
    ///
    /// Returns:
    ///     The proof.
    ///
    /// Raises:
    ///     ProofFormatError: The bytes are no such proof.
    ///     InvalidInput: Another kind, width or hash.
    #[staticmethod]
    #[pyo3(signature = (data, *, kind, ns_size=29, ignore_max=None, hash="sha256"))]
    fn from_celestia_protobuf(
        data: Input,
        kind: &str,
        ns_size: i64,
        ignore_max: Option<bool>,
        hash: &str,
    ) -> PyResult<Self> {
        let import = import_of(kind, ns_size, ignore_max, hash)?;
        let proof = nmt::Proof::from_celestia_protobuf(data.bytes(), import)?;
        Ok(Self(proof))
    }

    /// The proof in Celestia's protobuf; as for ``to_celestia_json``.
    fn to_celestia_protobuf<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.to_celestia_protobuf())
    }
}

fn tuple<'py, 'a>(
    py: Python<'py>,
    nodes: impl Iterator<Item = &'a [u8]>,
) -> PyResult<Bound<'py, PyTuple>> {
    let nodes: Vec<_> = nodes.map(|node| PyBytes::new(py, node)).collect();
    PyTuple::new(py, nodes)
}

fn import_of(kind: &str, ns_size: i64, ignore_max: Option<bool>, hash: &str) -> Result<Import> {
    let unknown = || Error::InvalidInput(format!("kind is inclusion or namespace, not {kind:?}"));
    Ok(Import {
        params: params_of(hash, ns_size, ignore_max.unwrap_or_default())?,
        force: ignore_max.is_some(),
        kind: Kind::of_name(kind).ok_or_else(unknown)?,
    })
}

/// A proof as the verifiers take it: an object, or bytes.
pub enum Given {
    Proof(Py<Proof>),
    Bytes(Input),
}

impl<'py> FromPyObject<'_, 'py> for Given {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(proof) = object.cast::<Proof>() {
            return Ok(Self::Proof(proof.to_owned().unbind()));
        }
        object.extract().map(Self::Bytes)
    }
}

impl Given {
    fn len(&self) -> usize {
        match self {
            Self::Proof(proof) => proof.get().0.encoded_len(),
            Self::Bytes(bytes) => bytes.bytes().len(),
        }
    }

    fn view(&self) -> Option<View<'_>> {
        match self {
            Self::Proof(proof) => Some(proof.get().0.view()),
            Self::Bytes(bytes) => View::parse(bytes.bytes()).ok(),
        }
    }
}

/// What the caller knows of the tree; `None` if no tree can be like that.
fn pins_of(
    hash: Option<&str>,
    size: Option<&Bound<'_, PyAny>>,
    ignore_max: Option<bool>,
) -> PyResult<Option<Pins>> {
    let mut pins = Pins {
        ignore_max,
        ..Pins::default()
    };
    if let Some(size) = size {
        match size.extract::<u64>() {
            Ok(size) => pins.size = Some(size),
            Err(error) if error.is_instance_of::<PyOverflowError>(size.py()) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    if let Some(name) = hash {
        pins.hash = Algorithm::of_name(name);
        if pins.hash.is_none() {
            return Ok(None);
        }
    }
    Ok(Some(pins))
}

/// Asks a proof something, where there is one, of a tree that may be.
fn ask(
    py: Python<'_>,
    proof: Given,
    weight: usize,
    pins: Option<Pins>,
    mut question: impl FnMut(View<'_>, Pins, &Cancel) -> Result<bool> + Send + 'static,
) -> PyResult<bool> {
    let carried = proof.len().saturating_sub(SMALL).saturating_mul(HASHED);
    let work = Work::decode(pooled(weight.saturating_add(carried), None));
    run(py, work, move |cancel| match (proof.view(), pins) {
        (Some(proof), Some(pins)) => question(proof, pins, cancel),
        _ => Ok(false),
    })
}

/// Is ``leaf`` a leaf of ``namespace`` below ``root``?
///
/// Args:
///     proof: A ``Proof`` or its bytes: of inclusion or of a whole namespace. Over several leaves it
///         must carry their nodes (``leaf_nodes=True``).
///     leaf: The data of the leaf.
///     namespace: Its namespace.
///     root: The root, from a source that is trusted.
///     hash: The hash that the tree must have; any, if None.
///     size: The number of leaves that the tree must have. Without it the index that a proof states
///         is not proved.
///     ignore_max_namespace: The flag that the tree must have; any, if None.
///
/// Returns:
///     The answer; False also for bytes that are no proof.
///
/// Raises:
///     TypeError: An argument is no contiguous buffer.
#[pyfunction]
#[pyo3(signature = (
    proof, leaf, namespace, root, *, hash=None, size=None, ignore_max_namespace=None
))]
#[expect(clippy::too_many_arguments, reason = "keywords of a Python call")]
pub fn nmt_verify(
    py: Python<'_>,
    proof: Given,
    leaf: Input,
    namespace: Input,
    root: Input,
    hash: Option<&str>,
    size: Option<&Bound<'_, PyAny>>,
    ignore_max_namespace: Option<bool>,
) -> PyResult<bool> {
    let pins = pins_of(hash, size, ignore_max_namespace)?;
    let weight = leaf.bytes().len();
    ask(py, proof, weight, pins, move |proof, pins, cancel| {
        let (leaf, namespace, root) = (leaf.bytes(), namespace.bytes(), root.bytes());
        proof.verify(leaf, namespace, root, pins, cancel)
    })
}

/// Are ``leaves`` neighbours in ``namespace`` below ``root``? There may be more of them.
///
/// Args:
///     proof: A ``Proof`` or its bytes: of inclusion or of a whole namespace.
///     leaves: Buffers, or an Arrow array of binary values, in order.
///     namespace: Their namespace.
///     root: The root, from a source that is trusted.
///     hash: The hash that the tree must have; any, if None.
///     size: The number of leaves that the tree must have.
///     ignore_max_namespace: The flag that the tree must have; any, if None.
///
/// Returns:
///     The answer; False also for no leaves, and for bytes that are no proof.
///
/// Raises:
///     TypeError: An argument or a leaf is no contiguous buffer.
#[pyfunction]
#[pyo3(signature = (
    proof, leaves, namespace, root, *, hash=None, size=None, ignore_max_namespace=None
))]
#[expect(clippy::too_many_arguments, reason = "keywords of a Python call")]
pub fn nmt_verify_range(
    py: Python<'_>,
    proof: Given,
    leaves: &Bound<'_, PyAny>,
    namespace: Input,
    root: Input,
    hash: Option<&str>,
    size: Option<&Bound<'_, PyAny>>,
    ignore_max_namespace: Option<bool>,
) -> PyResult<bool> {
    let pins = pins_of(hash, size, ignore_max_namespace)?;
    let leaves = values_of("leaf", leaves)?;
    let weight = leaves.len();
    ask(py, proof, weight, pins, move |proof, pins, cancel| {
        let (namespace, root) = (namespace.bytes(), root.bytes());
        proof.verify_range(&slices(&leaves), namespace, root, pins, cancel)
    })
}

/// Are ``leaves`` all leaves of ``namespace`` below ``root``, in order?
///
/// Complete is complete for whoever made the root: it also chose which leaf is in which namespace.
/// Of a tree with ``ignore_max_namespace`` nothing is proved about the greatest namespace, but the
/// root does not tell that it is such a tree, and an empty proof states the flag itself: who asks
/// about that namespace pins the flag.
///
/// Args:
///     proof: A ``Proof`` or its bytes: of a whole namespace, of absence, or empty. A proof of
///         inclusion is none, whatever it covers.
///     leaves: Buffers, or an Arrow array of binary values; ``[]`` asks whether there are none.
///     namespace: The namespace.
///     root: The root, from a source that is trusted.
///     hash: The hash that the tree must have; any, if None.
///     size: The number of leaves that the tree must have.
///     ignore_max_namespace: The flag that the tree must have; any, if None.
///
/// Returns:
///     The answer; False also for bytes that are no proof.
///
/// Raises:
///     TypeError: An argument or a leaf is no contiguous buffer.
#[pyfunction]
#[pyo3(signature = (
    proof, leaves, namespace, root, *, hash=None, size=None, ignore_max_namespace=None
))]
#[expect(clippy::too_many_arguments, reason = "keywords of a Python call")]
pub fn nmt_verify_namespace(
    py: Python<'_>,
    proof: Given,
    leaves: &Bound<'_, PyAny>,
    namespace: Input,
    root: Input,
    hash: Option<&str>,
    size: Option<&Bound<'_, PyAny>>,
    ignore_max_namespace: Option<bool>,
) -> PyResult<bool> {
    let pins = pins_of(hash, size, ignore_max_namespace)?;
    let leaves = values_of("leaf", leaves)?;
    let weight = leaves.len();
    ask(py, proof, weight, pins, move |proof, pins, cancel| {
        let (namespace, root) = (namespace.bytes(), root.bytes());
        proof.verify_namespace(&slices(&leaves), namespace, root, pins, cancel)
    })
}
