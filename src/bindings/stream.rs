//! Compressor and decompressor objects for data that come piece by piece.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::{exceptions::PyValueError, prelude::*, types::PyBytes};

use super::{
    buffer::Input,
    output,
    run::{COMPRESS_WEIGHT, DETACH_FROM, Work, run},
};
use crate::{
    codec::stream::{Compress, Decompress},
    error::{Error, Result},
    pool::Cancel,
};

/// Input that is compressed between two looks for signals.
const SLICE: usize = 256 << 10;
/// Output that a decompressor gives at a time between two looks for signals.
const STEP: usize = 4 << 20;

/// Compresses one stream piece by piece; made by ``codec.compressor()``.
///
/// The output of all calls, joined, is one payload. For zstd its bytes are those of ``compress``,
/// however the input was cut; for gzip they are another encoding of the same data.
/// After ``flush`` the object is spent.
#[pyclass(module = "shardpack", frozen)]
pub struct Compressor(Arc<Mutex<Option<Box<dyn Compress>>>>);

impl Compressor {
    pub fn new(inner: Box<dyn Compress>) -> Self {
        Self(Arc::new(Mutex::new(Some(inner))))
    }

    fn run(
        &self,
        py: Python<'_>,
        weight: usize,
        mut work: impl FnMut(
            Box<dyn Compress>,
            &mut Vec<u8>,
            &Cancel,
        ) -> Result<Option<Box<dyn Compress>>>
        + Send
        + 'static,
    ) -> PyResult<Py<PyBytes>> {
        let shared = Arc::clone(&self.0);
        // The lock is taken inside of the job, and never with the GIL, which the thread that has the
        // lock may want: two threads that share a compressor take turns. A failed or interrupted call leaves
        // it spent, because nobody knows how much of the input it has seen.
        let weight = weight.max(DETACH_FROM / COMPRESS_WEIGHT);
        let result = run(py, Work::compress(weight), move |cancel| {
            let mut slot = shared.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(inner) = slot.take() else {
                return Ok(None);
            };
            let mut out = Vec::new();
            *slot = work(inner, &mut out, cancel)?;
            drop(slot);
            output::join(&[&out]).map(Some)
        })?;
        result.ok_or_else(|| {
            PyValueError::new_err("the compressor was flushed or has failed; make a new one")
        })
    }
}

#[pymethods]
impl Compressor {
    /// Compress a piece.
    ///
    /// Args:
    ///     data: Any C-contiguous buffer.
    ///
    /// Returns:
    ///     What is ready of the payload, often nothing.
    ///
    /// Raises:
    ///     ValueError: The compressor is spent.
    fn compress(&self, py: Python<'_>, data: Input) -> PyResult<Py<PyBytes>> {
        self.run(py, data.bytes().len(), move |mut inner, out, cancel| {
            for slice in data.bytes().chunks(SLICE) {
                cancel.check()?;
                inner.compress(slice, out)?;
            }
            Ok(Some(inner))
        })
    }

    /// End the payload.
    ///
    /// Returns:
    ///     The rest of the payload.
    ///
    /// Raises:
    ///     ValueError: The compressor is spent.
    fn flush(&self, py: Python<'_>) -> PyResult<Py<PyBytes>> {
        self.run(py, SLICE / 4, |mut inner, out, _| {
            inner.finish(out)?;
            Ok(None)
        })
    }
}

/// Decompresses a plain stream piece by piece; made by ``codec.decompressor()``.
///
/// Frames and members that follow one another are read in full. Memory stays bounded with
/// ``max_length``, whatever the stream holds.
#[pyclass(module = "shardpack", frozen)]
pub struct Decompressor(Arc<Mutex<State<dyn Decompress>>>);

/// A decoder, what it was given and has not read yet, and whether it still can be trusted.
pub struct State<D: ?Sized> {
    inner: Box<D>,
    // Input that was not read yet: what lies from `at` on.
    pending: Vec<u8>,
    at: usize,
    // The last call gave as much as it was allowed to, so there may be more.
    full: bool,
    failed: Option<Error>,
}

impl Decompressor {
    pub fn new(inner: Box<dyn Decompress>) -> Self {
        Self(Arc::new(Mutex::new(State::new(inner))))
    }
}

impl<D: Decompress + ?Sized> State<D> {
    /// A decoder that was given nothing yet.
    pub fn new(inner: Box<D>) -> Self {
        Self {
            inner,
            pending: Vec::new(),
            at: 0,
            full: false,
            failed: None,
        }
    }

    /// The decoder.
    pub fn inner_mut(&mut self) -> &mut D {
        &mut self.inner
    }

    /// Decodes what is held back and then `data`, at most `max` bytes.
    pub fn decompress(
        &mut self,
        data: &[u8],
        max: Option<usize>,
        cancel: &Cancel,
    ) -> Result<Vec<u8>> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let mut out = Vec::new();
        let result = if self.at == self.pending.len() {
            // Nothing is held back: no need to copy what will be read at once.
            let result = self.step(data, &mut out, max, cancel);
            self.pending.clear();
            self.pending
                .extend_from_slice(&data[*result.as_ref().unwrap_or(&data.len())..]);
            self.at = 0;
            result
        } else {
            let mut pending = std::mem::take(&mut self.pending);
            pending.drain(
                ..if data.is_empty() {
                    0
                } else {
                    std::mem::take(&mut self.at)
                },
            );
            pending.extend_from_slice(data);
            let result = self.step(&pending[self.at..], &mut out, max, cancel);
            self.at += result.as_ref().unwrap_or(&0);
            self.pending = pending;
            result
        };
        // What follows damage cannot be trusted, so the error stays.
        self.failed = result.as_ref().err().map(|error| match error {
            Error::Interrupted => Error::decode("stream", "an earlier call was interrupted"),
            error => error.clone(),
        });
        result.map(|_| out)
    }

    /// Decodes until the input or the allowance is used up; returns how much of the input was.
    fn step(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        max: Option<usize>,
        cancel: &Cancel,
    ) -> Result<usize> {
        let max = max.unwrap_or(usize::MAX);
        let mut used = 0;
        loop {
            cancel.check()?;
            let before = out.len();
            let room = (max - before).min(STEP);
            used += self.inner.decompress(&input[used..], out, room)?;
            self.full = room > 0 && out.len() - before == room;
            if out.len() == max || !self.full {
                return Ok(used);
            }
        }
    }

    /// Fails unless the input ended where a frame or member ends.
    pub fn finish(&self) -> Result<()> {
        match &self.failed {
            Some(error) => Err(error.clone()),
            None if self.inner.is_complete() && !self.holds_input() => Ok(()),
            None => Err(self.inner.cut_short()),
        }
    }

    /// Is there nothing to be had without more input?
    pub fn needs_input(&self) -> bool {
        !self.full && !self.holds_input()
    }

    fn holds_input(&self) -> bool {
        self.at < self.pending.len()
    }
}

#[pymethods]
impl Decompressor {
    /// Decompress a piece.
    ///
    /// Args:
    ///     data: The next piece of the stream; may be empty to get at what is held back.
    ///     max_length: Most bytes to return; what is left over comes with the next calls. Negative
    ///         for no bound.
    ///
    /// Returns:
    ///     Decoded bytes, possibly none.
    ///
    /// Raises:
    ///     S4IoError: The stream is damaged.
    #[pyo3(
        signature = (data=Python::attach(Input::empty), max_length=-1),
        text_signature = "($self, data=b'', max_length=-1)"
    )]
    fn decompress(&self, py: Python<'_>, data: Input, max_length: isize) -> PyResult<Py<PyBytes>> {
        let shared = Arc::clone(&self.0);
        let max = usize::try_from(max_length).ok();
        let weight = data.bytes().len().saturating_mul(4);
        run(py, Work::decode(weight.max(SLICE)), move |cancel| {
            let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
            let out = state.decompress(data.bytes(), max, cancel)?;
            drop(state);
            output::join(&[&out])
        })
    }

    /// Check that the stream ended where a frame or member ends.
    ///
    /// Raises:
    ///     S4IoError: It was cut short.
    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        let shared = Arc::clone(&self.0);
        run(py, Work::decode(SLICE), move |_| {
            let state = shared.lock().unwrap_or_else(PoisonError::into_inner);
            state.finish()
        })
    }

    /// False if more can be had without giving more input.
    #[getter]
    fn needs_input(&self, py: Python<'_>) -> bool {
        py.detach(|| {
            let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.needs_input()
        })
    }
}
