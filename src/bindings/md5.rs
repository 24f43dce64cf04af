//! `md5_many`: the MD5 of several buffers, side by side.

use pyo3::{
    prelude::*,
    types::{PyBytes, PyList},
};

use super::{
    buffer::Input,
    run::{Work, run},
};
use crate::hash::md5::{DIGEST_LEN, digest_many};

/// The MD5 of several buffers, on one thread, with one release of the GIL.
///
/// Sixteen take little longer than one (AVX-512; of AVX2 eight, else four). One alone is as fast
/// with ``hashlib``. Not for security: for S3's ``Content-MD5`` and ETags.
///
/// Args:
///     buffers: Any C-contiguous buffers.
///
/// Returns:
///     16 bytes for each, in order.
///
/// Raises:
///     TypeError: One is no contiguous buffer.
#[pyfunction]
pub fn md5_many(py: Python<'_>, buffers: Vec<Input>) -> PyResult<Bound<'_, PyList>> {
    let len = buffers.iter().map(|buffer| buffer.bytes().len()).sum();
    let digests = run(py, Work::decode(len), move |cancel| {
        let messages: Vec<_> = buffers.iter().map(Input::bytes).collect();
        let mut digests = vec![[0; DIGEST_LEN]; messages.len()];
        digest_many(&messages, &mut digests, cancel)?;
        Ok(digests)
    })?;
    PyList::new(py, digests.iter().map(|digest| PyBytes::new(py, digest)))
}
