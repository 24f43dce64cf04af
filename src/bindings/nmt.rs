//! `nmt_root` and its kin, and `Tree`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::{
    exceptions::{PyOverflowError, PyTypeError},
    prelude::*,
    sync::MutexExt,
    types::{PyByteArray, PyBytes, PyDict, PyString, PyTuple},
};

use super::{
    batch::pooled,
    buffer::{Input, Offsets},
    nmt_proof::Proof,
    run::{DETACH_FROM, POOL_FROM, Work, run},
    source::Source,
    turn::Turns,
};
use crate::{
    error::{Error, Result},
    nmt::{self, Packed, Params},
    pool::Cancel,
};

/// Bytes that hashing a leaf costs at least, inner nodes included.
const LEAF_WEIGHT: usize = 256;

/// The parameters that the arguments of a call make.
pub fn params_of(hash: &str, ns_size: i64, ignore_max: bool) -> Result<Params> {
    let hash = nmt::hash_of_name(hash)?;
    let size = usize::try_from(ns_size)
        .map_err(|_| Error::InvalidInput(format!("ns_size must be 1 to 255, got {ns_size}")))?;
    Params::new(hash, size, ignore_max)
}

/// Leaves or namespaces, none of them null.
pub fn values_of(what: &str, values: &Bound<'_, PyAny>) -> PyResult<Source> {
    // Empty ones would pass for an empty list.
    if values.is_instance_of::<PyBytes>()
        || values.is_instance_of::<PyByteArray>()
        || values.is_instance_of::<PyString>()
        || values.is_instance_of::<PyDict>()
    {
        let kind = values.get_type().name()?;
        return Err(PyTypeError::new_err(format!(
            "a sequence of buffers is required, one for each {what}, not '{kind}'"
        )));
    }
    let source = Source::new(values)?;
    match source.first_null() {
        Some(index) => Err(PyTypeError::new_err(format!(
            "{what} {index}: a bytes-like object is required, not null"
        ))),
        None => Ok(source),
    }
}

/// The values behind a [`Source`] that [`values_of`] made.
pub fn slices(source: &Source) -> Vec<&[u8]> {
    source.present()
}

/// The root of leaves, each in the namespace of the same index.
///
/// Args:
///     leaves: Buffers, or an Arrow array of binary values; may be empty each, but not all in all.
///     namespaces: As many, each of ``ns_size`` bytes, in ascending order.
///     hash: ``"sha256"``, ``"blake3"`` or ``"keccak256"``.
///     ns_size: Bytes of a namespace, 1 to 255.
///     ignore_max_namespace: Leave the namespace of all ``0xff`` out of the labels, as Celestia does.
///     sort: Sort the leaves by namespace first; those of one namespace keep their order.
///     allow_empty: Answer with ``empty_root`` for no leaves.
///     threads: Threads to use; by default see ``thread_count``.
///
/// Returns:
///     ``2 * ns_size + 32`` bytes: least and greatest namespace, and a digest. They never depend on
///     ``threads``.
///
/// Raises:
///     InvalidInput: No leaves, counts that differ, an unknown hash or width, or, named by its
///         index, the first namespace of another width or below its predecessor.
///     TypeError: A leaf or a namespace is no contiguous buffer.
#[pyfunction]
#[pyo3(signature = (
    leaves, namespaces, *, hash="sha256", ns_size=8, ignore_max_namespace=false, sort=false,
    allow_empty=false, threads=None
))]
#[expect(clippy::too_many_arguments, reason = "keywords of a Python call")]
pub fn nmt_root<'py>(
    py: Python<'py>,
    leaves: &Bound<'py, PyAny>,
    namespaces: &Bound<'py, PyAny>,
    hash: &str,
    ns_size: i64,
    ignore_max_namespace: bool,
    sort: bool,
    allow_empty: bool,
    threads: Option<usize>,
) -> PyResult<Bound<'py, PyBytes>> {
    let params = params_of(hash, ns_size, ignore_max_namespace)?;
    let leaves = values_of("leaf", leaves)?;
    let namespaces = values_of("namespace", namespaces)?;
    let work = work_of(&leaves, &namespaces, threads);
    let root = run(py, work, move |cancel| {
        let (leaves, namespaces) = (slices(&leaves), slices(&namespaces));
        if allow_empty && leaves.is_empty() && namespaces.is_empty() {
            Ok(params.empty_root())
        } else if sort {
            nmt::sorted_root(params, &leaves, &namespaces, cancel)
        } else {
            nmt::root(params, &leaves, &namespaces, cancel)
        }
    })?;
    Ok(PyBytes::new(py, &root))
}

/// As ``root``, of leaves in one buffer: no Python object is looked at for each.
///
/// Args:
///     data: The bytes of all leaves.
///     offsets: A buffer of 64-bit integers, such as ``array("Q", ...)`` or a NumPy array, one more
///         than there are leaves: leaf i is ``data[offsets[i]:offsets[i + 1]]``.
///     namespaces: The namespaces of all leaves, joined.
///     hash: As for ``root``, and so are the others.
///     ns_size: Bytes of a namespace.
///     ignore_max_namespace: Leave the namespace of all ``0xff`` out of the labels.
///     sort: Sort the leaves by namespace first.
///     allow_empty: Answer with ``empty_root`` for no leaves.
///     threads: Threads to use; by default see ``thread_count``.
///
/// Returns:
///     The root.
///
/// Raises:
///     InvalidInput: As for ``root``; offsets that descend or point behind the data, or namespaces
///         of another length in total.
///     TypeError: An argument is no contiguous buffer, or the offsets are no 64-bit integers.
#[pyfunction]
#[pyo3(signature = (
    data, offsets, namespaces, *, hash="sha256", ns_size=8, ignore_max_namespace=false, sort=false,
    allow_empty=false, threads=None
))]
#[expect(clippy::too_many_arguments, reason = "keywords of a Python call")]
pub fn nmt_root_packed(
    py: Python<'_>,
    data: Input,
    offsets: Offsets,
    namespaces: Input,
    hash: &str,
    ns_size: i64,
    ignore_max_namespace: bool,
    sort: bool,
    allow_empty: bool,
    threads: Option<usize>,
) -> PyResult<Py<PyBytes>> {
    let params = params_of(hash, ns_size, ignore_max_namespace)?;
    let count = offsets.numbers().len();
    let weight = data.bytes().len() + count.saturating_mul(LEAF_WEIGHT);
    let work = Work {
        weight: pooled(weight, threads),
        threads,
    };
    let root = run(py, work, move |cancel| {
        let packed = Packed {
            data: data.bytes(),
            offsets: offsets.numbers(),
            namespaces: namespaces.bytes(),
        };
        if allow_empty && packed.offsets.len() == 1 && packed.namespaces.is_empty() {
            Ok(params.empty_root())
        } else if sort {
            nmt::sorted_root_packed(params, packed, cancel)
        } else {
            nmt::root_packed(params, packed, cancel)
        }
    })?;
    Ok(PyBytes::new(py, &root).unbind())
}

fn work_of(leaves: &Source, namespaces: &Source, threads: Option<usize>) -> Work {
    // Either counts every value with what any record costs.
    let weight = leaves
        .len()
        .saturating_add(namespaces.len().saturating_mul(2));
    Work {
        weight: pooled(weight, threads),
        threads,
    }
}

/// The root of a tree without leaves.
///
/// Args:
///     ns_size: Bytes of a namespace, 1 to 255.
///     hash: ``"sha256"``, ``"blake3"`` or ``"keccak256"``.
///
/// Returns:
///     Two namespaces of zeros, and the digest of nothing.
///
/// Raises:
///     InvalidInput: An unknown hash or width.
#[pyfunction]
#[pyo3(signature = (ns_size=8, hash="sha256"))]
pub fn nmt_empty_root<'py>(
    py: Python<'py>,
    ns_size: i64,
    hash: &str,
) -> PyResult<Bound<'py, PyBytes>> {
    let params = params_of(hash, ns_size, false)?;
    Ok(PyBytes::new(py, &params.empty_root()))
}

/// A root cut into its parts.
///
/// Args:
///     root: The root, or any other node.
///     ns_size: Bytes of a namespace, 1 to 255.
///
/// Returns:
///     The least namespace, the greatest one, and the digest.
///
/// Raises:
///     InvalidInput: The root has another length, or its namespaces are in the wrong order.
#[pyfunction]
#[pyo3(signature = (root, ns_size=8))]
pub fn nmt_parse_root(py: Python<'_>, root: Input, ns_size: i64) -> PyResult<Bound<'_, PyTuple>> {
    let params = params_of("sha256", ns_size, false)?;
    let (due, len) = (params.node_len(), root.bytes().len());
    if len != due {
        let text = format!("a root with namespaces of {ns_size} bytes has {due} bytes, got {len}");
        return Err(Error::InvalidInput(text).into());
    }
    let parts = params.split_node(root.bytes()).ok_or_else(|| {
        Error::InvalidInput("the greatest namespace of the root is below its least one".into())
    })?;
    PyTuple::new(
        py,
        [parts.0, parts.1, parts.2].map(|part| PyBytes::new(py, part)),
    )
}

/// A namespaced Merkle tree that grows, and proves what is in it.
///
/// It keeps about 64 bytes a leaf and not the leaves. Threads may share it: every call sees it as it
/// is between two others. It does not pickle; roots and proofs do.
///
/// Args:
///     hash: ``"sha256"``, ``"blake3"`` or ``"keccak256"``.
///     ns_size: Bytes of a namespace, 1 to 255.
///     ignore_max_namespace: Leave the namespace of all ``0xff`` out of the labels, as Celestia does.
///
/// Raises:
///     InvalidInput: An unknown hash or width.
#[pyclass(module = "shardpack.nmt", frozen)]
pub struct Tree {
    params: Params,
    inner: Arc<Mutex<nmt::Tree>>,
    turns: Turns,
}

impl Tree {
    /// Lets go of the GIL where it has to wait.
    fn lock<'a>(&'a self, py: Python<'_>) -> MutexGuard<'a, nmt::Tree> {
        self.inner
            .lock_py_attached(py)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a proof; one that carries many nodes takes a while.
    fn prove_with(
        &self,
        py: Python<'_>,
        leaf_nodes: bool,
        prove: impl FnOnce(&nmt::Tree) -> Result<nmt::Proof> + Send,
    ) -> PyResult<Proof> {
        let proof = if leaf_nodes {
            py.detach(|| prove(&self.inner.lock().unwrap_or_else(PoisonError::into_inner)))
        } else {
            prove(&self.lock(py))
        };
        Ok(proof?.into())
    }

    /// Changes the tree in a job. Only one on the pool can be stopped: on the thread of the caller a
    /// signal handler would run with the tree held, and might want it.
    fn change<T: Send + 'static>(
        &self,
        py: Python<'_>,
        work: Work,
        mut change: impl FnMut(&mut nmt::Tree, &Cancel) -> Result<T> + Send + 'static,
    ) -> PyResult<T> {
        let shared = Arc::clone(&self.inner);
        let is_long = work.weight >= POOL_FROM;
        let mut turn = is_long.then(|| self.turns.take(py)).transpose()?;
        run(py, work, move |cancel| {
            let mut tree = shared.lock().unwrap_or_else(PoisonError::into_inner);
            let result = if is_long {
                change(&mut tree, cancel)
            } else {
                change(&mut tree, &Cancel::new())
            };
            drop(tree);
            drop(turn.take());
            result
        })
    }
}

#[pymethods]
impl Tree {
    #[new]
    #[pyo3(signature = (*, hash="sha256", ns_size=8, ignore_max_namespace=false))]
    fn new(hash: &str, ns_size: i64, ignore_max_namespace: bool) -> PyResult<Self> {
        let params = params_of(hash, ns_size, ignore_max_namespace)?;
        let inner = Arc::new(Mutex::new(nmt::Tree::new(params)));
        let turns = Turns::default();
        Ok(Self {
            params,
            inner,
            turns,
        })
    }

    /// Append a leaf.
    ///
    /// Args:
    ///     namespace: Its namespace, not below that of the leaf before.
    ///     data: Any C-contiguous buffer; it is not kept.
    ///
    /// Returns:
    ///     The index of the leaf.
    ///
    /// Raises:
    ///     InvalidInput: The namespace has another width or is below the last one.
    fn push(&self, py: Python<'_>, namespace: Input, data: Input) -> PyResult<u64> {
        let len = data.bytes().len();
        if len < DETACH_FROM {
            return Ok(self.lock(py).push(namespace.bytes(), data.bytes())?);
        }
        self.change(py, Work::decode(len), move |tree, _| {
            tree.push(namespace.bytes(), data.bytes())
        })
    }

    /// Append leaves, each in the namespace of the same index: all of them or, after an error, none.
    ///
    /// Args:
    ///     namespaces: Buffers, or an Arrow array of binary values, in ascending order.
    ///     leaves: As many.
    ///     threads: Threads to use; by default see ``thread_count``.
    ///
    /// Raises:
    ///     InvalidInput: Counts that differ, or, named by its index in the tree, the first namespace
    ///         of another width or below its predecessor.
    #[pyo3(signature = (namespaces, leaves, *, threads=None))]
    fn extend(
        &self,
        py: Python<'_>,
        namespaces: &Bound<'_, PyAny>,
        leaves: &Bound<'_, PyAny>,
        threads: Option<usize>,
    ) -> PyResult<()> {
        let namespaces = values_of("namespace", namespaces)?;
        let leaves = values_of("leaf", leaves)?;
        // A lock is waited for, so never with the GIL.
        let mut work = work_of(&leaves, &namespaces, threads);
        work.weight = work.weight.max(DETACH_FROM);
        self.change(py, work, move |tree, cancel| {
            tree.extend(&slices(&namespaces), &slices(&leaves), cancel)
        })
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        self.lock(py).len() as usize
    }

    /// The root of the leaves so far; of none, ``empty_root``.
    fn root<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let root = self.lock(py).root();
        PyBytes::new(py, &root)
    }

    /// The leaves of a namespace.
    ///
    /// Args:
    ///     namespace: The namespace.
    ///
    /// Returns:
    ///     Index of the first and one past the last; without leaves, twice where they would be.
    ///
    /// Raises:
    ///     InvalidInput: The namespace has another width.
    fn leaf_range(&self, py: Python<'_>, namespace: Input) -> PyResult<(u64, u64)> {
        Ok(self.lock(py).leaf_range(namespace.bytes())?)
    }

    /// Prove that a leaf is in the tree.
    ///
    /// Args:
    ///     index: Its index.
    ///
    /// Returns:
    ///     A proof of kind ``"inclusion"``.
    ///
    /// Raises:
    ///     InvalidInput: There is no such leaf.
    fn prove(&self, py: Python<'_>, index: &Bound<'_, PyAny>) -> PyResult<Proof> {
        let index = index_of(index)?;
        Ok(self.lock(py).prove(index)?.into())
    }

    /// Prove that neighbours of one namespace are in the tree.
    ///
    /// Args:
    ///     start: Index of the first.
    ///     end: One past the last.
    ///     leaf_nodes: Carry the node of each leaf, so that ``verify`` can check one of them alone.
    ///
    /// Returns:
    ///     A proof of kind ``"inclusion"``.
    ///
    /// Raises:
    ///     InvalidInput: The range is empty, leaves the tree or spans namespaces; more than 2**20
    ///         leaf nodes.
    #[pyo3(signature = (start, end, leaf_nodes=false))]
    fn prove_range(
        &self,
        py: Python<'_>,
        start: &Bound<'_, PyAny>,
        end: &Bound<'_, PyAny>,
        leaf_nodes: bool,
    ) -> PyResult<Proof> {
        let (start, end) = (index_of(start)?, index_of(end)?);
        self.prove_with(py, leaf_nodes, |tree| {
            tree.prove_range(start, end, leaf_nodes)
        })
    }

    /// Prove what is in a namespace: all of its leaves, or that there are none.
    ///
    /// Args:
    ///     namespace: The namespace.
    ///     leaf_nodes: As for ``prove_range``.
    ///
    /// Returns:
    ///     A proof of kind ``"namespace"``, ``"absence"`` or ``"empty"``.
    ///
    /// Raises:
    ///     InvalidInput: The namespace has another width; more than 2**20 leaf nodes.
    #[pyo3(signature = (namespace, leaf_nodes=false))]
    fn prove_namespace(
        &self,
        py: Python<'_>,
        namespace: Input,
        leaf_nodes: bool,
    ) -> PyResult<Proof> {
        self.prove_with(py, leaf_nodes, |tree| {
            tree.prove_namespace(namespace.bytes(), leaf_nodes)
        })
    }

    /// The name of the hash.
    #[getter]
    fn hash(&self) -> &'static str {
        self.params.hash().name()
    }

    /// Bytes of a namespace.
    #[getter]
    fn ns_size(&self) -> usize {
        self.params.ns_size()
    }

    /// Whether the namespace of all ``0xff`` does not count for labels.
    #[getter]
    fn ignore_max_namespace(&self) -> bool {
        self.params.ignore_max()
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let (hash, ns_size) = (self.hash(), self.ns_size());
        let len = self.__len__(py);
        format!("<Tree of {len} leaves, hash='{hash}', ns_size={ns_size}>")
    }
}

/// The index that an int gives; one that no tree can have is an error of ours, not an overflow.
fn index_of(index: &Bound<'_, PyAny>) -> PyResult<u64> {
    index.extract::<u64>().map_err(|error| {
        if error.is_instance_of::<PyOverflowError>(index.py()) {
            Error::InvalidInput(format!("no tree has an index of {index}")).into()
        } else {
            error
        }
    })
}
