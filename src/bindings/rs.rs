//! Reed-Solomon: shards in, new shards out, and the same into memory of the caller.
//!
//! Public names, defaults and the tags of parity shards are `shardpack/rs.py`'s.

use std::sync::Arc;

use pyo3::{
    exceptions::{PyOverflowError, PyTypeError},
    prelude::*,
};

use super::{
    buffer::Input,
    error::InvalidInput,
    run::{Work, run},
    shards::{NewShard, Shards, Targets, finish},
};
use crate::{
    error::{Error, Result},
    hash::named::Named,
    pool::{self, Cancel},
    rs,
};

/// Objects made by one call.
type Objects = Vec<Py<PyAny>>;

/// Parity of ``data_shards``: a list of ``ParityShard``. See ``shardpack.rs.encode``.
#[pyfunction]
#[pyo3(signature = (data_shards, parity_shards, *, threads=None))]
pub fn rs_encode(
    py: Python<'_>,
    data_shards: &Bound<'_, PyAny>,
    parity_shards: &Bound<'_, PyAny>,
    threads: Option<usize>,
) -> PyResult<Objects> {
    let data = Shards::new(data_shards)?;
    let (k, m) = (data.len(), count("parity_shards", parity_shards)?);
    rs::check_counts(k, m)?;
    let mut parity = NewShard::all(py, (k, m), k..k + m, data.first_len())?;
    run(py, work(data.total_len(), m, threads), move |cancel| {
        let mut rows = rows(&mut parity);
        rs::encode(&data.whole()?, &mut rows, cancel)?;
        finish(&mut parity)
    })
}

/// Parity of ``data_shards`` into ``outputs``. See ``shardpack.rs.encode_into``.
#[pyfunction]
#[pyo3(signature = (data_shards, outputs, *, threads=None))]
pub fn rs_encode_into(
    py: Python<'_>,
    data_shards: &Bound<'_, PyAny>,
    outputs: &Bound<'_, PyAny>,
    threads: Option<usize>,
) -> PyResult<()> {
    let data = Shards::new(data_shards)?;
    let mut parity = Targets::new(outputs, &data)?;
    let work = work(data.total_len(), parity.len(), threads);
    run(py, work, move |cancel| {
        rs::encode(&data.whole()?, &mut parity.slices_mut(), cancel)
    })
}

/// The lost shards at ``wanted``. See ``shardpack.rs.reconstruct``.
#[pyfunction]
#[pyo3(signature = (shards, data_shards, wanted, *, threads=None))]
pub fn rs_rebuild(
    py: Python<'_>,
    shards: &Bound<'_, PyAny>,
    data_shards: &Bound<'_, PyAny>,
    wanted: Vec<usize>,
    threads: Option<usize>,
) -> PyResult<Objects> {
    let shards = Shards::new(shards)?;
    let k = count("data_shards", data_shards)?;
    let m = shards.len().saturating_sub(k);
    let len = shards.first_len();
    let mut rebuilt = NewShard::all(py, (k, m), wanted.iter().copied(), len)?;
    let work = work(len.saturating_mul(k), wanted.len(), threads);
    run(py, work, move |cancel| {
        let mut rows = rows(&mut rebuilt);
        rs::reconstruct(&shards.slices(), k, &wanted, &mut rows, cancel)?;
        finish(&mut rebuilt)
    })
}

/// The lost shards at ``wanted`` into ``outputs``. See ``shardpack.rs.reconstruct_into``.
#[pyfunction]
#[pyo3(signature = (shards, data_shards, wanted, outputs, *, threads=None))]
pub fn rs_rebuild_into(
    py: Python<'_>,
    shards: &Bound<'_, PyAny>,
    data_shards: &Bound<'_, PyAny>,
    wanted: Vec<usize>,
    outputs: &Bound<'_, PyAny>,
    threads: Option<usize>,
) -> PyResult<()> {
    let shards = Shards::new(shards)?;
    let k = count("data_shards", data_shards)?;
    let mut outputs = Targets::new(outputs, &shards)?;
    let work = work(shards.first_len().saturating_mul(k), wanted.len(), threads);
    run(py, work, move |cancel| {
        let mut rows = outputs.slices_mut();
        rs::reconstruct(&shards.slices(), k, &wanted, &mut rows, cancel)
    })
}

/// Does the parity belong to the data? See ``shardpack.rs.verify``.
#[pyfunction]
#[pyo3(signature = (shards, data_shards, *, threads=None))]
pub fn rs_verify(
    py: Python<'_>,
    shards: &Bound<'_, PyAny>,
    data_shards: &Bound<'_, PyAny>,
    threads: Option<usize>,
) -> PyResult<bool> {
    let shards = Shards::new(shards)?;
    let k = count("data_shards", data_shards)?;
    let m = shards.len().saturating_sub(k);
    run(py, work(shards.total_len(), m, threads), move |cancel| {
        rs::verify(&shards.whole()?, k, cancel)
    })
}

/// Parity after a data shard has changed. See ``shardpack.rs.update``.
#[pyfunction]
#[pyo3(signature = (parity, data_shards, index, old, new, *, threads=None))]
pub fn rs_update(
    py: Python<'_>,
    parity: &Bound<'_, PyAny>,
    data_shards: &Bound<'_, PyAny>,
    index: &Bound<'_, PyAny>,
    old: Input,
    new: Input,
    threads: Option<usize>,
) -> PyResult<Objects> {
    let parity = Shards::new(parity)?;
    let (k, m) = (count("data_shards", data_shards)?, parity.len());
    let index = count("index", index)?;
    rs::check_counts(k, m)?;
    let len = old.bytes().len();
    let mut updated = NewShard::all(py, (k, m), k..k + m, len)?;
    run(py, work(len * 2, m, threads), move |cancel| {
        let mut rows = rows(&mut updated);
        for (number, (row, shard)) in rows.iter_mut().zip(parity.whole()?).enumerate() {
            if shard.len() != row.len() {
                return Err(Error::InvalidInput(format!(
                    "parity shard {} has {} bytes, the old shard {index} has {}",
                    k + number,
                    shard.len(),
                    row.len()
                )));
            }
            row.copy_from_slice(shard);
        }
        rs::update(k, index, old.bytes(), new.bytes(), &mut rows, cancel)?;
        finish(&mut updated)
    })
}

/// The shards that are wrong. See ``shardpack.rs.locate``.
#[pyfunction]
#[pyo3(signature = (shards, data_shards, max_errors, *, threads=None))]
pub fn rs_locate(
    py: Python<'_>,
    shards: &Bound<'_, PyAny>,
    data_shards: &Bound<'_, PyAny>,
    max_errors: &Bound<'_, PyAny>,
    threads: Option<usize>,
) -> PyResult<Option<Vec<usize>>> {
    let shards = Shards::new(shards)?;
    let k = count("data_shards", data_shards)?;
    let most = count("max_errors", max_errors)?;
    let work = work(shards.total_len(), shards.len(), threads);
    run(py, work, move |cancel| {
        rs::locate(&shards.slices(), k, most, cancel)
    })
}

/// Shards whose digests do not match, rebuilt: pairs of index and bytes. See
/// ``shardpack.rs.repair``.
#[pyfunction]
#[pyo3(signature = (shards, data_shards, digests, hash, *, threads=None))]
pub fn rs_repair(
    py: Python<'_>,
    shards: &Bound<'_, PyAny>,
    data_shards: &Bound<'_, PyAny>,
    digests: &Bound<'_, PyAny>,
    hash: &str,
    threads: Option<usize>,
) -> PyResult<Vec<(usize, Py<PyAny>)>> {
    let shards = Arc::new(Shards::new(shards)?);
    let k = count("data_shards", data_shards)?;
    let digests = Arc::new(Digests::new(hash, digests, shards.len())?);
    rs::check_counts(k, shards.len().saturating_sub(k))?;
    let code = (k, shards.len() - k);

    let hashing = work(shards.total_len(), HASH_WEIGHT, threads);
    let (theirs, due) = (Arc::clone(&shards), Arc::clone(&digests));
    let lost = run(py, hashing, move |cancel| {
        let present = theirs.slices();
        due.mismatches(&(0..).zip(present).collect::<Vec<_>>(), cancel)
    })?;
    let slices = shards.slices();
    let intact = (0..).zip(&slices).find(|(index, _)| !lost.contains(index));
    let len = intact.and_then(|(_, shard)| *shard).map_or(0, <[u8]>::len);

    let mut rebuilt = NewShard::all(py, code, lost.iter().copied(), len)?;
    let rebuilding = work(len * k, lost.len() + HASH_WEIGHT, threads);
    let found = lost.clone();
    let rebuilt = run(py, rebuilding, move |cancel| {
        let mut slices = shards.slices();
        for &index in &lost {
            slices[index] = None;
        }
        let mut rows = rows(&mut rebuilt);
        rs::reconstruct(&slices, k, &lost, &mut rows, cancel)?;
        let made = lost
            .iter()
            .zip(&rows)
            .map(|(&index, row)| (index, Some(&**row)));
        if let Some(index) = digests
            .mismatches(&made.collect::<Vec<_>>(), cancel)?
            .first()
        {
            return Err(Error::ComputationFailed(format!(
                "shard {index} cannot be repaired: what the others give has another digest"
            )));
        }
        finish(&mut rebuilt)
    })?;
    Ok(found.into_iter().zip(rebuilt).collect())
}

/// Hashing a byte costs about as much as this many multiplications of one.
const HASH_WEIGHT: usize = 16;

/// What the shards of a code must hash to.
struct Digests {
    algorithm: Named,
    due: Shards,
}

impl Digests {
    fn new(name: &str, digests: &Bound<'_, PyAny>, shards: usize) -> PyResult<Self> {
        let algorithm = Named::of_name(name)?;
        let due = Shards::new(digests).map_err(|error| of_digest(digests.py(), &error))?;
        if due.len() != shards {
            return Err(InvalidInput::new_err(format!(
                "{} digests for {shards} shards",
                due.len()
            )));
        }
        let len = algorithm.digest_len();
        let mut slices = due.slices().into_iter();
        if let Some(index) = slices.position(|digest| digest.map(<[u8]>::len) != Some(len)) {
            return Err(InvalidInput::new_err(format!(
                "digest {index} is no {name} digest of {len} bytes"
            )));
        }
        Ok(Self { algorithm, due })
    }

    /// Indexes of the shards that are lost or hash to something else.
    fn mismatches(&self, shards: &[(usize, Option<&[u8]>)], cancel: &Cancel) -> Result<Vec<usize>> {
        let messages: Vec<&[u8]> = shards.iter().filter_map(|(_, shard)| *shard).collect();
        let len = self.algorithm.digest_len();
        let mut packed = vec![0; messages.len() * len];
        self.algorithm.digest_many(&messages, &mut packed, cancel)?;
        let due = self.due.slices();
        let mut found = packed.chunks_exact(len);
        let wrong = shards.iter().filter(|(index, shard)| {
            let digest = shard.and_then(|_| found.next());
            digest.is_none() || digest != due[*index]
        });
        Ok(wrong.map(|(index, _)| *index).collect())
    }
}

fn of_digest(py: Python<'_>, error: &PyErr) -> PyErr {
    let text = error.value(py).to_string().replacen("shard", "digest", 1);
    PyErr::from_type(error.get_type(py), text)
}

/// The memory of new shards.
pub fn rows(shards: &mut [NewShard]) -> Vec<&mut [u8]> {
    shards.iter_mut().map(NewShard::bytes_mut).collect()
}

/// An argument that is a number of something.
///
/// # Errors
/// `InvalidInput` naming the argument, for whatever is no number from 0 to 2^63 - 1.
pub fn count(name: &str, value: &Bound<'_, PyAny>) -> PyResult<usize> {
    let py = value.py();
    match value.extract::<i64>() {
        Ok(number) => usize::try_from(number).map_err(|_| {
            InvalidInput::new_err(format!("{name} must not be negative, got {number}"))
        }),
        Err(error) if error.is_instance_of::<PyOverflowError>(py) => {
            Err(InvalidInput::new_err(format!("{name} is out of range")))
        }
        Err(error) if error.is_instance_of::<PyTypeError>(py) => {
            let kind = value.get_type().name()?;
            Err(InvalidInput::new_err(format!(
                "{name} must be an integer, not '{kind}'"
            )))
        }
        Err(error) => Err(error),
    }
}

/// How much work it is to make `outputs` bytes from each of `len`.
pub fn work(len: usize, outputs: usize, threads: Option<usize>) -> Work {
    let products = len.saturating_mul(outputs.max(1));
    // The default number of threads takes a while to find out: asked for where it matters.
    let shared = products >= PARALLEL_FROM && threads.unwrap_or_else(pool::default_threads) > 1;
    Work {
        weight: if shared { POOLED } else { products / SPEED },
        threads,
    }
}

/// Products from which several threads are worth waking.
const PARALLEL_FROM: usize = 8 << 20;
/// Kernels make about this many products while a decoder writes a byte.
const SPEED: usize = 32;
/// A weight that surely goes to the pool.
const POOLED: usize = usize::MAX;
