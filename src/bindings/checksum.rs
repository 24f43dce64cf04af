//! `crc32c` and `crc32c_combine`.

use pyo3::prelude::*;

use super::{
    buffer::Input,
    run::{Work, run},
};
use crate::checksum;

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
    let len = data.bytes().len();
    // The checksum runs ten times as fast as a decoder.
    run(py, Work::decode(len / 8), move |_| {
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
