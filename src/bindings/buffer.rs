//! The one place that turns Python objects into slices of bytes.

#![expect(
    unsafe_code,
    reason = "this file is where Python memory becomes slices"
)]

use pyo3::{
    Borrowed, FromPyObject, PyAny, PyErr, PyResult, Python,
    buffer::PyUntypedBuffer,
    exceptions::{PyBufferError, PyTypeError},
    prelude::*,
    types::{PyBytes, PyString},
};

/// Any C-contiguous buffer, held for reading, without a copy.
///
/// It owns a reference to the exporting object, so it can travel to another thread and outlive the
/// call that received it.
pub struct Input {
    owner: Owner,
    start: *const u8,
    len: usize,
}

enum Owner {
    // The common case needs no buffer view: `bytes` never change.
    Bytes { _bytes: Py<PyBytes> },
    View { _view: PyUntypedBuffer },
}

// SAFETY: the memory is kept alive by `owner`, which is itself `Send` and `Sync`, and only read.
unsafe impl Send for Input {}
// SAFETY: as above; shared access only reads.
unsafe impl Sync for Input {}

impl Input {
    /// No bytes: the default of optional arguments.
    pub fn empty(py: Python<'_>) -> Self {
        Self {
            owner: Owner::Bytes {
                _bytes: PyBytes::new(py, b"").unbind(),
            },
            start: std::ptr::null(),
            len: 0,
        }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: `start` and `len` describe memory that `owner` keeps alive and in place for as
        // long as `self` lives. The hazard left over: another thread may write to a mutable buffer
        // (a bytearray) while it is read here. Python's own codecs have the same hole. Every reader
        // of this crate is safe for any bytes, so a racing writer gets garbage or an error, and
        // nothing is read or written outside the buffer.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

impl<'py> FromPyObject<'_, 'py> for Input {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = object.cast::<PyBytes>() {
            let slice = bytes.as_bytes();
            let (start, len) = (slice.as_ptr(), slice.len());
            return Ok(Self {
                owner: Owner::Bytes {
                    _bytes: bytes.to_owned().unbind(),
                },
                start,
                len,
            });
        }
        let view = view_of(&object)?;
        let (start, len) = (view.buf_ptr().cast::<u8>().cast_const(), view.len_bytes());
        Ok(Self {
            owner: Owner::View { _view: view },
            start,
            len,
        })
    }
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.owner {
            Owner::Bytes { .. } => "bytes",
            Owner::View { .. } => "view",
        };
        write!(f, "Input({kind}, {} bytes)", self.len)
    }
}

/// A C-contiguous buffer of 64-bit integers in the byte order of the machine, held for reading.
///
/// Signed ones are taken for their bits: a negative number becomes a very large one.
pub struct Offsets(Input);

impl Offsets {
    /// The integers.
    pub fn numbers(&self) -> &[u64] {
        // SAFETY: any eight bytes are a `u64`. `extract` has let through only buffers of aligned
        // 8-byte items, so that nothing is left over on either side.
        let (_, numbers, _) = unsafe { self.0.bytes().align_to() };
        numbers
    }
}

impl<'py> FromPyObject<'_, 'py> for Offsets {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let view = view_of(&object)?;
        let format = view.format().to_string_lossy();
        let native = format.trim_start_matches(['@', '=', NATIVE_ORDER]);
        if view.item_size() != size_of::<u64>()
            || !matches!(native, "Q" | "q" | "L" | "l" | "N" | "n")
            || !view.buf_ptr().cast::<u64>().is_aligned()
        {
            return Err(PyTypeError::new_err(format!(
                "a buffer of aligned 64-bit integers is required, such as array('Q'), not one of \
                 format {format:?}"
            )));
        }
        let (start, len) = (view.buf_ptr().cast::<u8>().cast_const(), view.len_bytes());
        Ok(Self(Input {
            owner: Owner::View { _view: view },
            start,
            len,
        }))
    }
}

/// What stands in front of the format of items in the byte order of the machine.
const NATIVE_ORDER: char = if cfg!(target_endian = "little") {
    '<'
} else {
    '>'
};

/// A writable C-contiguous buffer of the caller.
pub struct Destination {
    view: PyUntypedBuffer,
}

impl Destination {
    /// The bytes to write to.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let len = self.view.len_bytes();
        if len == 0 {
            return &mut [];
        }
        // SAFETY: the view keeps the memory alive and in place, it is writable and contiguous
        // (checked in `extract`), and `&mut self` makes this the only slice made from it. The hazard
        // left over is the one of `Input::bytes`: others may touch the buffer through Python.
        unsafe { std::slice::from_raw_parts_mut(self.view.buf_ptr().cast::<u8>(), len) }
    }

    /// Capacity in bytes.
    pub fn len(&self) -> usize {
        self.view.len_bytes()
    }
}

impl<'py> FromPyObject<'_, 'py> for Destination {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let view = view_of(&object)?;
        if view.readonly() {
            return Err(PyTypeError::new_err(
                "the destination is read-only; a writable buffer is required",
            ));
        }
        Ok(Self { view })
    }
}

fn view_of(object: &Bound<'_, PyAny>) -> PyResult<PyUntypedBuffer> {
    let view = PyUntypedBuffer::get(object).map_err(|error| explain(object, error))?;
    // A NumPy scalar has no dimensions: a number, not a run of bytes.
    if view.is_c_contiguous() {
        Ok(view)
    } else {
        Err(PyTypeError::new_err(
            "the buffer is not C-contiguous; make a copy first, e.g. bytes(data)",
        ))
    }
}

fn explain(object: &Bound<'_, PyAny>, error: PyErr) -> PyErr {
    let py: Python<'_> = object.py();
    if object.is_instance_of::<PyString>() {
        return PyTypeError::new_err(
            "a bytes-like object is required, not 'str'; encode the text first",
        );
    }
    if error.is_instance_of::<PyTypeError>(py) || error.is_instance_of::<PyBufferError>(py) {
        let kind = object
            .get_type()
            .name()
            .map_or_else(|_| "?".into(), |name| name.to_string());
        return PyTypeError::new_err(format!("a bytes-like object is required, not '{kind}'"));
    }
    error
}
