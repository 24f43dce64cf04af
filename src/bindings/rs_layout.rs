//! One buffer cut into shards and put together again, and parity of data that come piece by piece.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::{prelude::*, types::PyBytes};

use super::{
    buffer::Input,
    output::{self, NewBytes},
    rs::{count, rows, work},
    run::{Work, run},
    shards::{NewShard, Shards, finish},
    turn::Turns,
};
use crate::{
    error::Error,
    rs::{self, layout, stream},
};

/// ``data`` cut into shards, one after the other. See ``shardpack.rs.split``.
#[pyfunction]
#[pyo3(signature = (data, data_shards))]
pub fn rs_split(
    py: Python<'_>,
    data: Input,
    data_shards: &Bound<'_, PyAny>,
) -> PyResult<Vec<Py<PyAny>>> {
    let k = count("data_shards", data_shards)?;
    if k > rs::MAX_SHARDS {
        // Before as many objects are made.
        return Err(Error::InvalidInput(format!(
            "{k} data shards; they may be {} at most",
            rs::MAX_SHARDS
        ))
        .into());
    }
    let len = layout::shard_len(data.bytes().len(), k)?;
    let mut shards = NewShard::all(py, (k, 0), 0..k, len)?;
    run(py, Work::decode(len * k), move |_| {
        layout::split(data.bytes(), &mut rows(&mut shards))?;
        finish(&mut shards)
    })
}

/// The first ``size`` bytes of the shards, joined. See ``shardpack.rs.join``.
#[pyfunction]
#[pyo3(signature = (shards, size))]
pub fn rs_join(
    py: Python<'_>,
    shards: &Bound<'_, PyAny>,
    size: &Bound<'_, PyAny>,
) -> PyResult<Py<PyBytes>> {
    let shards = Shards::new(shards)?;
    let size = count("size", size)?;
    run(py, Work::decode(size), move |_| {
        let mut rest = size;
        let mut parts = Vec::new();
        for (index, shard) in shards.slices().into_iter().enumerate() {
            if rest == 0 {
                break;
            }
            let shard =
                shard.ok_or_else(|| Error::InvalidInput(format!("shard {index} is None")))?;
            let part = &shard[..rest.min(shard.len())];
            rest -= part.len();
            parts.push(part);
        }
        if rest > 0 {
            return Err(Error::InvalidInput(format!(
                "the shards have {} bytes, {size} are asked for",
                size - rest
            )));
        }
        output::join(&parts)
    })
}

/// Shard files of ``data``, striped. See ``shardpack.rs.encode_striped``.
#[pyfunction]
#[pyo3(signature = (data, data_shards, parity_shards, block, *, threads=None))]
pub fn rs_encode_striped(
    py: Python<'_>,
    data: Input,
    data_shards: &Bound<'_, PyAny>,
    parity_shards: &Bound<'_, PyAny>,
    block: &Bound<'_, PyAny>,
    threads: Option<usize>,
) -> PyResult<Vec<Py<PyAny>>> {
    let k = count("data_shards", data_shards)?;
    let m = count("parity_shards", parity_shards)?;
    let block = count("block", block)?;
    rs::check_counts(k, m)?;
    let size = data.bytes().len();
    let len = layout::striped_shard_len(size, k, block)?;
    let mut shards = NewShard::all(py, (k, m), 0..k + m, len)?;
    run(py, work(size, m, threads), move |cancel| {
        layout::encode_striped(data.bytes(), k, block, &mut rows(&mut shards), cancel)?;
        finish(&mut shards)
    })
}

/// What was striped, from the shard files that are left. See ``shardpack.rs.decode_striped``.
#[pyfunction]
#[pyo3(signature = (shards, data_shards, block, size, *, threads=None))]
pub fn rs_decode_striped(
    py: Python<'_>,
    shards: &Bound<'_, PyAny>,
    data_shards: &Bound<'_, PyAny>,
    block: &Bound<'_, PyAny>,
    size: &Bound<'_, PyAny>,
    threads: Option<usize>,
) -> PyResult<Py<PyBytes>> {
    let shards = Shards::new(shards)?;
    let k = count("data_shards", data_shards)?;
    let (block, size) = (count("block", block)?, count("size", size)?);
    // Before memory is asked for: the size is believed only if the shards have it.
    let due = layout::striped_shard_len(size, k, block)?;
    for (index, shard) in shards.slices().into_iter().enumerate() {
        if let Some(len) = shard.map(<[u8]>::len).filter(|&len| len != due) {
            return Err(Error::InvalidInput(format!(
                "shard {index} has {len} bytes, {size} bytes in blocks of {block} make {due}"
            ))
            .into());
        }
    }
    if shards.slices().iter().flatten().count() < k {
        return Err(Error::ComputationFailed(format!(
            "{} of {} shards are left, at least {k} are needed",
            shards.slices().iter().flatten().count(),
            shards.len()
        ))
        .into());
    }
    let lost = shards
        .slices()
        .iter()
        .filter(|shard| shard.is_none())
        .count();
    let mut data = NewBytes::new(py, size)?;
    run(py, work(size, lost, threads), move |cancel| {
        layout::decode_striped(&shards.slices(), k, block, data.bytes_mut(), cancel)?;
        data.finish()
    })
}

/// Parity of data that come piece by piece, in any order; memory is that of the parity alone.
///
/// Args:
///     data_shards: Number of data shards, at least 1.
///     parity_shards: Number of parity shards, at least 1; both together at most 256.
///     shard_len: Bytes of each shard, at least 1.
///
/// Raises:
///     InvalidInput: The counts make no code, or the length is 0.
///     ComputationFailed: The parity does not fit into memory.
///
/// Example:
///     >>> from shardpack import rs
///     >>> encoder = rs.Encoder(2, 1, 4)
///     >>> parity = encoder.add(0, b"abcd").add(1, b"ef").add(1, b"gh", offset=2).parity()
///     >>> parity == rs.encode([b"abcd", b"efgh"], 1)
///     True
#[pyclass(module = "shardpack.rs", frozen)]
pub struct Encoder {
    inner: Arc<Mutex<stream::Encoder>>,
    turns: Turns,
    code: (usize, usize),
    len: usize,
}

#[pymethods]
impl Encoder {
    #[new]
    #[pyo3(signature = (data_shards, parity_shards, shard_len))]
    fn new(
        data_shards: &Bound<'_, PyAny>,
        parity_shards: &Bound<'_, PyAny>,
        shard_len: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let k = count("data_shards", data_shards)?;
        let m = count("parity_shards", parity_shards)?;
        let len = count("shard_len", shard_len)?;
        let inner = stream::Encoder::new(k, m, len)?;
        Ok(Self {
            inner: Arc::new(Mutex::new(inner)),
            turns: Turns::default(),
            code: (k, m),
            len,
        })
    }

    /// Take a piece of a data shard; each byte of each shard is to come exactly once.
    ///
    /// Args:
    ///     index: The data shard that the piece is of.
    ///     piece: Any C-contiguous buffer; it is not kept.
    ///     offset: Where in the shard it begins.
    ///
    /// Returns:
    ///     This encoder, so that calls can be chained.
    ///
    /// Raises:
    ///     InvalidInput: There is no such data shard, the piece does not fit into it, or some of its
    ///         bytes have come before; nothing has changed then.
    #[pyo3(
        signature = (index, piece, offset=None),
        text_signature = "($self, index, piece, offset=0)"
    )]
    fn add<'py>(
        slf: Bound<'py, Self>,
        index: &Bound<'py, PyAny>,
        piece: Input,
        offset: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Self>> {
        let index = count("index", index)?;
        let offset = offset.map_or(Ok(0), |offset| count("offset", offset))?;
        let this = slf.get();
        let shared = Arc::clone(&this.inner);
        let weight = work(piece.bytes().len(), this.code.1, None);
        // The lock is taken inside of the job, without the GIL: threads that share an encoder take
        // turns instead of blocking each other.
        let mut turn = Some(this.turns.take(slf.py())?);
        run(slf.py(), weight, move |_| {
            let mut encoder = shared.lock().unwrap_or_else(PoisonError::into_inner);
            let result = encoder.add(index, piece.bytes(), offset);
            drop(encoder);
            drop(turn.take());
            result
        })?;
        Ok(slf)
    }

    /// The parity, once every byte of every data shard has come.
    ///
    /// Returns:
    ///     A list of ``ParityShard``.
    ///
    /// Raises:
    ///     InvalidInput: Bytes are missing; the text says which.
    fn parity(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        let (k, m) = self.code;
        let shared = Arc::clone(&self.inner);
        let mut parity = NewShard::all(py, self.code, k..k + m, self.len)?;
        let mut turn = Some(self.turns.take(py)?);
        run(py, Work::decode(self.len * m), move |_| {
            let encoder = shared.lock().unwrap_or_else(PoisonError::into_inner);
            for (new, row) in parity.iter_mut().zip(encoder.parity()?) {
                new.bytes_mut().copy_from_slice(row);
            }
            drop(encoder);
            drop(turn.take());
            finish(&mut parity)
        })
    }

    /// Number of data shards.
    #[getter]
    fn data_shards(&self) -> usize {
        self.code.0
    }

    /// Number of parity shards.
    #[getter]
    fn parity_shards(&self) -> usize {
        self.code.1
    }

    /// Bytes of each shard.
    #[getter]
    fn shard_len(&self) -> usize {
        self.len
    }

    fn __repr__(&self) -> String {
        let (k, m) = self.code;
        format!("<Encoder of {k}+{m} shards of {} bytes>", self.len)
    }
}
