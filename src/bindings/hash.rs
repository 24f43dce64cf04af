//! `blake3`, `sha256`, `keccak256`, `sha3_256`: the digest of one buffer.

use pyo3::{prelude::*, types::PyBytes};

use super::{
    buffer::Input,
    output::NewBytes,
    run::{DETACH_FROM, POOL_FROM, Work, run},
};
use crate::{
    error::{Error, Result},
    hash::{
        self, Algorithm, DIGEST_LEN, Hasher,
        blake3::{Blake3, Mode},
        named::{self, Named},
    },
    pool,
};

/// Bytes of a key.
const KEY_LEN: usize = 32;
/// From this many bytes on threads share a message. Less is hashed before a second thread is awake;
/// the checksum is several times as fast.
const PARALLEL_FROM: usize = 1 << 20;
const PARALLEL_FROM_CRC: usize = 8 << 20;

/// The work of hashing `len` bytes.
pub fn work_of(algorithm: Named, len: usize, threads: Option<usize>) -> Work {
    if len < DETACH_FROM {
        return Work { weight: 0, threads };
    }
    let is_parallel = match algorithm {
        Named::Hash(Algorithm::Blake3) => len >= PARALLEL_FROM,
        Named::Crc32c => len >= PARALLEL_FROM_CRC,
        Named::Hash(_) => false,
    };
    if is_parallel {
        // Asked once: the answer takes reading files.
        let threads = Some(threads.unwrap_or_else(pool::default_threads));
        let weight = if threads > Some(1) {
            POOL_FROM
        } else {
            len / 4
        };
        return Work {
            weight: weight.max(len / 4),
            threads,
        };
    }
    let weight = match algorithm {
        Named::Hash(Algorithm::Sha256) => len,
        Named::Hash(Algorithm::Keccak256 | Algorithm::Sha3_256) => len.saturating_mul(2),
        Named::Hash(Algorithm::Blake3) | Named::Crc32c => len / 4,
    };
    Work {
        weight: weight.max(DETACH_FROM),
        threads,
    }
}

/// The mode that the arguments `key` and `context` ask for.
pub fn mode_of(key: Option<&Input>, context: Option<String>) -> Result<Mode> {
    match (key.map(Input::bytes), context) {
        (None, None) => Ok(Mode::Plain),
        (None, Some(context)) => Ok(Mode::DeriveKey(context)),
        (Some(key), None) => {
            let wrong = |_| {
                let len = key.len();
                Error::InvalidInput(format!("key must have {KEY_LEN} bytes, got {len}"))
            };
            key.try_into().map(Mode::Keyed).map_err(wrong)
        }
        (Some(_), Some(_)) => Err(Error::InvalidInput(
            "key and context exclude each other".into(),
        )),
    }
}

/// A length that Python gives, which must not be negative.
pub fn length_of(length: isize) -> Result<usize> {
    usize::try_from(length)
        .map_err(|_| Error::InvalidInput(format!("length must not be negative, got {length}")))
}

/// The BLAKE3 hash of a buffer.
///
/// Args:
///     data: Any C-contiguous buffer.
///     key: 32 bytes; the result is then a message authentication code.
///     context: A constant of the application, such as ``"example.org 2026-07-30 session keys"``;
///         the result is then a key derived from ``data``. Not together with ``key``.
///     length: Bytes of output, any number; a shorter output is a prefix of a longer one.
///     threads: Threads to use for long data; by default see ``thread_count``.
///
/// Returns:
///     ``length`` bytes, which never depend on ``threads``.
///
/// Raises:
///     TypeError: ``data`` or ``key`` is no contiguous buffer.
///     InvalidInput: ``key`` has another length, ``context`` comes with it, or ``length`` is
///         negative.
#[pyfunction]
#[pyo3(signature = (data, *, key=None, context=None, length=32, threads=None))]
pub fn blake3(
    py: Python<'_>,
    data: Input,
    key: Option<Input>,
    context: Option<String>,
    length: isize,
    threads: Option<usize>,
) -> PyResult<Bound<'_, PyBytes>> {
    let mode = mode_of(key.as_ref(), context)?;
    let length = length_of(length)?;
    let len = data.bytes().len();
    if mode == Mode::Plain && length == DIGEST_LEN && len < DETACH_FROM {
        return Ok(PyBytes::new(py, &hash::blake3::digest(data.bytes())));
    }
    let work = work_of(
        Named::Hash(Algorithm::Blake3),
        len.saturating_add(length),
        threads,
    );
    let mut output = NewBytes::new(py, length)?;
    let bytes = run(py, work, move |cancel| {
        let mut hasher = Hasher::Blake3(Box::new(Blake3::new(&mode)));
        named::update(&mut hasher, data.bytes(), cancel)?;
        if let Hasher::Blake3(hasher) = &hasher {
            named::read(hasher, output.bytes_mut(), 0, cancel)?;
        }
        output.finish()
    })?;
    Ok(bytes.into_bound(py))
}

/// The SHA-256 hash of a buffer (FIPS 180-4).
///
/// Args:
///     data: Any C-contiguous buffer.
///
/// Returns:
///     32 bytes.
///
/// Raises:
///     TypeError: ``data`` is no contiguous buffer.
#[pyfunction]
pub fn sha256(py: Python<'_>, data: Input) -> PyResult<Bound<'_, PyBytes>> {
    digest(py, Algorithm::Sha256, data)
}

/// The Keccak-256 hash of a buffer, as Ethereum has it; not the same as SHA3-256.
///
/// Args:
///     data: Any C-contiguous buffer.
///
/// Returns:
///     32 bytes.
///
/// Raises:
///     TypeError: ``data`` is no contiguous buffer.
#[pyfunction]
pub fn keccak256(py: Python<'_>, data: Input) -> PyResult<Bound<'_, PyBytes>> {
    digest(py, Algorithm::Keccak256, data)
}

/// The SHA3-256 hash of a buffer (FIPS 202).
///
/// Args:
///     data: Any C-contiguous buffer.
///
/// Returns:
///     32 bytes.
///
/// Raises:
///     TypeError: ``data`` is no contiguous buffer.
#[pyfunction]
pub fn sha3_256(py: Python<'_>, data: Input) -> PyResult<Bound<'_, PyBytes>> {
    digest(py, Algorithm::Sha3_256, data)
}

fn digest(py: Python<'_>, algorithm: Algorithm, data: Input) -> PyResult<Bound<'_, PyBytes>> {
    let len = data.bytes().len();
    if len < DETACH_FROM {
        return Ok(PyBytes::new(py, &hash::digest(algorithm, data.bytes())));
    }
    let work = work_of(Named::Hash(algorithm), len, None);
    let digest = run(py, work, move |cancel| {
        let mut hasher = Hasher::new(algorithm);
        named::update(&mut hasher, data.bytes(), cancel)?;
        Ok(hasher.digest())
    })?;
    Ok(PyBytes::new(py, &digest))
}
