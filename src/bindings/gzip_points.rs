//! Checkpoints in gzip files.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::{prelude::*, types::PyBytes};

use super::{
    buffer::Input,
    output::{self, NewBytes},
    run::{Work, run},
    stream::State,
};
use crate::{
    codec::gzip_points::{self, DEFAULT_SPAN, Point},
    error::Error,
};

/// Decodes a gzip file of any writer piece by piece and notes places from which ``gzip_resume`` can
/// decode what follows. Every member's CRC-32 and length are checked.
///
/// Args:
///     span: Original bytes between two places, about; at least 32 KiB. A place can only be where a
///         block begins. Members that begin are noted from a sixteenth of that on.
#[pyclass(module = "shardpack", frozen)]
pub struct GzipIndexer(Arc<Mutex<State<gzip_points::GzipIndexer>>>);

type PointTuple = (u64, u8, u64, Py<PyBytes>, u32);

#[pymethods]
impl GzipIndexer {
    #[new]
    #[pyo3(signature = (*, span=DEFAULT_SPAN))]
    fn new(span: u64) -> PyResult<Self> {
        let indexer = gzip_points::GzipIndexer::new(span)?;
        Ok(Self(Arc::new(Mutex::new(State::new(Box::new(indexer))))))
    }

    /// Decompress a piece.
    ///
    /// Args:
    ///     data: The next piece of the file; may be empty to get at what is held back.
    ///     max_length: Most bytes to return; what is left over comes with the next calls. Negative
    ///         for no bound.
    ///
    /// Returns:
    ///     Decoded bytes, possibly none.
    ///
    /// Raises:
    ///     S4IoError: The file is damaged.
    #[pyo3(
        signature = (data=Python::attach(Input::empty), max_length=-1),
        text_signature = "($self, data=b'', max_length=-1)"
    )]
    fn decompress(&self, py: Python<'_>, data: Input, max_length: isize) -> PyResult<Py<PyBytes>> {
        let shared = Arc::clone(&self.0);
        let max = usize::try_from(max_length).ok();
        // A few bytes may decode to many: never on this thread with the GIL held.
        let weight = data.bytes().len().saturating_mul(4).max(256 << 10);
        run(py, Work::decode(weight), move |cancel| {
            let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
            let out = state.decompress(data.bytes(), max, cancel)?;
            drop(state);
            output::join(&[&out])
        })
    }

    /// Check that the file ended where a member ends.
    ///
    /// Returns:
    ///     CRC32C of the original bytes since the last place.
    ///
    /// Raises:
    ///     S4IoError: It was cut short.
    fn finish(&self, py: Python<'_>) -> PyResult<u32> {
        let crc = py.detach(|| {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.finish()?;
            Ok::<_, Error>(state.inner_mut().crc32c_behind())
        });
        Ok(crc?)
    }

    /// False if more can be had without giving more input.
    #[getter]
    fn needs_input(&self, py: Python<'_>) -> bool {
        py.detach(|| {
            let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.needs_input()
        })
    }

    /// Give the places noted since the last call; they come up to 32 KiB late, and all of them once
    /// the file has ended.
    ///
    /// Returns:
    ///     ``(stored_offset, bits, original_offset, window, crc32c)`` of each: the byte in which it
    ///     lies, how many of its bits, from the lowest, belong to what comes before, the offset of
    ///     the first original byte that follows, up to 32 KiB of original bytes before it, and the
    ///     CRC32C of all original bytes since the place before. Bytes of a window that nothing
    ///     refers to are zero; no window at all says that a member begins.
    fn take_points(&self, py: Python<'_>) -> Vec<PointTuple> {
        let points = py.detach(|| {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.inner_mut().take_points()
        });
        let tuple = |point: Point| {
            let window = PyBytes::new(py, &point.window).unbind();
            let Point {
                stored,
                bits,
                original,
                crc32c_before,
                ..
            } = point;
            (stored, bits, original, window, crc32c_before)
        };
        points.into_iter().map(tuple).collect()
    }
}

/// Decode a gzip file from a place in it that a ``GzipIndexer`` noted.
///
/// Nothing of a member that began before the place can be checked: compare the bytes with a digest.
///
/// Args:
///     window: The window of the place.
///     bits: Bits of the first byte that belong to what comes before.
///     data: The file from the byte of the place on, as far as it is needed.
///     size: How many original bytes are wanted.
///
/// Returns:
///     Exactly that many bytes.
///
/// Raises:
///     S4IoError: The file is damaged or ends too early.
///     ValueError: ``bits`` is not from 0 to 7.
#[pyfunction]
pub fn gzip_resume(
    py: Python<'_>,
    window: Input,
    bits: u8,
    data: Input,
    size: usize,
) -> PyResult<Py<PyBytes>> {
    gzip_points::check_size(data.bytes().len(), size)?;
    let mut output = NewBytes::new(py, size)?;
    run(
        py,
        Work::decode(size.max(data.bytes().len())),
        move |cancel| {
            gzip_points::resume(
                window.bytes(),
                bits,
                data.bytes(),
                output.bytes_mut(),
                cancel,
            )?;
            output.finish()
        },
    )
}
