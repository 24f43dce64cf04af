//! `crc32c`, `crc32c_combine` and `crc32c_many`.

use pyo3::{prelude::*, types::PyList};

use super::{
    batch::pooled,
    buffer::Input,
    hash::work_of,
    run::{Work, run},
    source::Source,
};
use crate::{checksum, hash::named::Named};

/// The checksum runs at least this often as fast as a decoder.
const SPEED: usize = 8;
/// Below this the GIL is kept: giving it up and getting it back costs more than a twentieth of the
/// work.
pub const SHORT: usize = 256 << 10;

// Python calls it by way of `quick.rs`.
/// CRC32C (Castagnoli) of a buffer, as in S4 frames and S3's ``x-amz-checksum-crc32c``.
///
/// Args:
///     data: Any C-contiguous buffer.
///     init: The CRC32C of what came before ``data``, 0 at the start.
///
/// Returns:
///     An unsigned 32-bit number; 0 for the empty input.
///
/// Raises:
///     TypeError: ``data`` is no contiguous buffer.
///     OverflowError: ``init`` does not fit in 32 bits.
#[pyfunction]
#[pyo3(signature = (data, init=0))]
pub fn crc32c(py: Python<'_>, data: Input, init: u32) -> PyResult<u32> {
    let work = match data.bytes().len() {
        len if len < SHORT => Work::decode(0),
        len => work_of(Named::Crc32c, len, None),
    };
    run(py, work, move |_| {
        Ok(checksum::crc32c_parallel(data.bytes(), init))
    })
}

/// CRC32C of A followed by B, from the checksums of both.
///
/// Args:
///     a: CRC32C of A.
///     b: CRC32C of B.
///     len_b: Length of B in bytes.
///
/// Returns:
///     The CRC32C of A + B.
#[pyfunction]
pub fn crc32c_combine(a: u32, b: u32, len_b: u64) -> u32 {
    checksum::combine(a, b, len_b)
}

/// CRC32C of many buffers, with one release of the GIL.
///
/// Args:
///     buffers: Buffers, or an Arrow array (or stream) of binary or text values.
///     threads: Threads to use; by default see ``thread_count``.
///
/// Returns:
///     The checksums in order. A None, or null, stays None.
///
/// Raises:
///     TypeError: A value is no contiguous buffer; the message says which.
#[pyfunction]
#[pyo3(signature = (buffers, *, threads=None))]
pub fn crc32c_many<'py>(
    py: Python<'py>,
    buffers: &Bound<'py, PyAny>,
    threads: Option<usize>,
) -> PyResult<Bound<'py, PyList>> {
    let source = Source::new(buffers)?;
    let work = Work {
        weight: pooled(source.len() / SPEED, threads),
        threads,
    };
    let (crcs, is_null) = run(py, work, move |cancel| {
        let messages = source.present();
        let mut crcs = vec![0; messages.len()];
        checksum::crc32c_many_parallel(&messages, &mut crcs, cancel)?;
        let values = source.slices();
        let is_null: Option<Vec<bool>> =
            (messages.len() < values.len()).then(|| values.iter().map(Option::is_none).collect());
        Ok((crcs, is_null))
    })?;
    let Some(is_null) = is_null else {
        return PyList::new(py, crcs);
    };
    let mut crcs = crcs.into_iter();
    let crcs = is_null
        .iter()
        .map(|is_null| if *is_null { None } else { crcs.next() });
    PyList::new(py, crcs)
}
