//! `hash_many`, `hash_many_packed` and `hash_file`: an algorithm by name, more than one buffer.

use std::{
    fs::File,
    os::fd::BorrowedFd,
    sync::{Arc, Mutex, PoisonError},
};

use pyo3::{
    exceptions::PyTypeError,
    prelude::*,
    types::{PyBytes, PyList},
};

use super::{
    array::{self, BinaryArray},
    batch::pooled,
    hash::work_of,
    output::NewBytes,
    run::{DETACH_FROM, Work, run, run_for},
    source::Source,
};
use crate::{
    codec::record::Run,
    hash::{
        Algorithm,
        file::{FileDigest, FileError},
        named::Named,
    },
    pool::Cancel,
};

/// The digests of many buffers, with one release of the GIL.
///
/// Args:
///     algorithm: A name in ``ALGORITHMS``.
///     buffers: Buffers, or an Arrow array (or stream) of binary or text values.
///     threads: Threads to use; by default see ``thread_count``.
///
/// Returns:
///     The digests in order: a list, or a ``BinaryArray`` for Arrow input. Nulls stay nulls.
#[pyfunction]
#[pyo3(signature = (algorithm, buffers, *, threads=None))]
pub fn hash_many<'py>(
    py: Python<'py>,
    algorithm: &str,
    buffers: &Bound<'py, PyAny>,
    threads: Option<usize>,
) -> PyResult<Bound<'py, PyAny>> {
    let algorithm = Named::of_name(algorithm)?;
    let source = Arc::new(Source::new(buffers)?);
    let is_arrow = source.is_arrow();
    let work = batch_of(algorithm, &source, threads);
    let digest_len = algorithm.digest_len();
    let (packed, is_null) = run(py, work, move |cancel| {
        let messages = source.present();
        let mut packed = vec![0; messages.len() * digest_len];
        algorithm.digest_many(&messages, &mut packed, cancel)?;
        let values = source.slices();
        if is_arrow {
            let lens = values.iter().map(|value| value.map(|_| digest_len));
            let lens = lens.collect();
            let array = array::from_runs(vec![Run {
                bytes: packed,
                lens,
            }])?;
            return Ok((Packed::Array(array), None));
        }
        let is_null: Option<Vec<bool>> =
            (messages.len() < values.len()).then(|| values.iter().map(Option::is_none).collect());
        Ok((Packed::Bytes(packed), is_null))
    })?;
    let packed = match packed {
        Packed::Array(array) => return Ok(Bound::new(py, BinaryArray::from(array))?.into_any()),
        Packed::Bytes(packed) => packed,
    };
    let mut digests = packed.chunks_exact(digest_len);
    let Some(is_null) = is_null else {
        let digests = digests.map(|digest| PyBytes::new(py, digest));
        return Ok(PyList::new(py, digests)?.into_any());
    };
    let list = PyList::empty(py);
    for is_null in is_null {
        let digest = if is_null { None } else { digests.next() };
        list.append(digest.map(|digest| PyBytes::new(py, digest)))?;
    }
    Ok(list.into_any())
}

enum Packed {
    Bytes(Vec<u8>),
    Array(arrow_array::ArrayRef),
}

/// The digests of many buffers in one ``bytes``, one behind the other.
///
/// For digests that go on to where bytes are wanted: no Python object is made for each.
///
/// Args:
///     algorithm: A name in ``ALGORITHMS``.
///     buffers: Buffers, or an Arrow array (or stream) of binary or text values.
///     threads: Threads to use; by default see ``thread_count``.
///
/// Returns:
///     Digest i is ``result[i * size : (i + 1) * size]`` with the digest size of the algorithm.
///
/// Raises:
///     TypeError: A value is no contiguous buffer, or null.
#[pyfunction]
#[pyo3(signature = (algorithm, buffers, *, threads=None))]
pub fn hash_many_packed(
    py: Python<'_>,
    algorithm: &str,
    buffers: &Bound<'_, PyAny>,
    threads: Option<usize>,
) -> PyResult<Py<PyBytes>> {
    let algorithm = Named::of_name(algorithm)?;
    let source = Arc::new(Source::new(buffers)?);
    if let Some(index) = source.first_null() {
        return Err(PyTypeError::new_err(format!(
            "record {index}: null has no digest; use many"
        )));
    }
    let mut output = NewBytes::new(py, source.slices().len() * algorithm.digest_len())?;
    let work = batch_of(algorithm, &source, threads);
    run(py, work, move |cancel| {
        algorithm.digest_many(&source.present(), output.bytes_mut(), cancel)?;
        output.finish()
    })
}

fn batch_of(algorithm: Named, source: &Source, threads: Option<usize>) -> Work {
    let len = source.len();
    let weight = match algorithm {
        Named::Hash(Algorithm::Keccak256 | Algorithm::Sha3_256) => len.saturating_mul(2),
        _ => len,
    };
    Work {
        weight: pooled(weight, threads),
        threads,
    }
}

/// The digest of a regular file.
///
/// Args:
///     fd: A file descriptor that can be read; its position does not matter and does not change.
///     size: Bytes of the file.
///     algorithm: A name in ``ALGORITHMS``.
///     on_done: Called now and then with the number of bytes done so far, if not None.
///     threads: Threads to use; by default see ``thread_count``.
///
/// Returns:
///     The digest, or None if the file has become shorter than ``size``.
///
/// Raises:
///     OSError: The file cannot be read.
#[pyfunction]
#[pyo3(signature = (fd, size, algorithm, *, on_done=None, threads=None))]
pub fn hash_file<'py>(
    py: Python<'py>,
    fd: i32,
    size: u64,
    algorithm: &str,
    on_done: Option<&Bound<'py, PyAny>>,
    threads: Option<usize>,
) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let algorithm = Named::of_name(algorithm)?;
    let digest = FileDigest::new(algorithm, duplicate(fd)?, size);
    // Owned by the job, which may be left alone with it for a while after Ctrl-C.
    let digest = Arc::new(Mutex::new(digest));
    let mut left = size;
    while left > 0 {
        // A disk may keep one waiting for any length of time.
        let mut work = work_of(algorithm, usize::try_from(left)?, threads);
        work.weight = work.weight.max(DETACH_FROM);
        let shared = Arc::clone(&digest);
        let job = move |cancel: &Cancel| {
            let mut digest = shared.lock().unwrap_or_else(PoisonError::into_inner);
            digest.advance(cancel)
        };
        let done = match run_for(py, work, job)? {
            Ok(done) => done,
            Err(FileError::Shrunk) => return Ok(None),
            Err(FileError::Io(error)) => return Err(error.into()),
            Err(FileError::Stopped(error)) => return Err(error.into()),
        };
        left = size - done;
        if let Some(on_done) = on_done {
            on_done.call1((done,))?;
        }
    }
    let digest = digest.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Some(PyBytes::new(py, &digest.digest())))
}

/// The file behind a descriptor, on a descriptor of its own.
#[expect(unsafe_code, reason = "Python gives descriptors as numbers")]
fn duplicate(fd: i32) -> PyResult<File> {
    if fd < 0 {
        return Err(std::io::Error::from_raw_os_error(libc::EBADF).into());
    }
    // SAFETY: the number is not -1, and is only used for this one call, during which the caller
    // keeps the descriptor open; if it does not, the call fails.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    Ok(File::from(borrowed.try_clone_to_owned()?))
}
