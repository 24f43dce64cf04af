//! New `bytes` objects that native code fills in place.
//!
//! First touch of fresh memory costs more than decoding into it: page faults at 4 KiB a piece. So
//! large results ask the kernel for huge pages, and nothing is zeroed, joined or copied on the way.

#![expect(
    unsafe_code,
    reason = "this file is where Python memory is made and filled"
)]

use pyo3::{ffi, prelude::*, types::PyBytes};

use crate::memory;

/// A `bytes` object of known length that nobody else has seen yet.
pub struct NewBytes {
    object: Option<Py<PyBytes>>,
    start: *mut u8,
    len: usize,
}

// SAFETY: the object is kept alive by the reference held here; until `finish` nobody else has one,
// so the memory belongs to whoever holds this value.
unsafe impl Send for NewBytes {}

impl NewBytes {
    /// A `bytes` object of `len` bytes whose content is yet to be written.
    pub fn new(py: Python<'_>, len: usize) -> PyResult<Self> {
        let size =
            isize::try_from(len).map_err(|_| pyo3::exceptions::PyMemoryError::new_err(()))?;
        // SAFETY: a null source asks for an object with unset content; the result is a new reference
        // to a `bytes`, or null with an exception set.
        let (object, start) = unsafe {
            let object = ffi::PyBytes_FromStringAndSize(std::ptr::null(), size);
            let object = Bound::from_owned_ptr_or_err(py, object)?.cast_into_unchecked::<PyBytes>();
            let start = ffi::PyBytes_AsString(object.as_ptr()).cast::<u8>();
            (object.unbind(), start)
        };
        memory::prefer_huge_pages(start, len);
        Ok(Self {
            object: Some(object),
            start,
            len,
        })
    }

    /// The memory to write to.
    ///
    /// What it holds before is unspecified: code may only write to it, and must have written all of
    /// it before [`NewBytes::finish`].
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        if self.len == 0 {
            // The empty `bytes` is a shared object.
            return &mut [];
        }
        // SAFETY: the object was just made with this length and nobody else has a reference, so the
        // memory is ours; any bit pattern is a valid `u8`, and the codecs only write to it.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }

    /// The object, now that it is written; to be called once.
    ///
    /// # Errors
    /// [`crate::Error::Backend`] at the second call.
    pub fn finish(&mut self) -> crate::Result<Py<PyBytes>> {
        self.len = 0;
        let missing = || crate::Error::Backend("a result was taken twice".into());
        self.object.take().ok_or_else(missing)
    }
}

/// A copy of `parts`, joined, as `bytes`. Called without the GIL; takes it only to allocate.
///
/// # Errors
/// [`crate::Error::Interrupted`] if the interpreter is shutting down.
pub fn join(parts: &[&[u8]]) -> crate::Result<Py<PyBytes>> {
    let len = parts.iter().map(|part| part.len()).sum();
    let mut output = Python::try_attach(|py| NewBytes::new(py, len))
        .ok_or(crate::Error::Interrupted)?
        .map_err(|_| crate::Error::Backend(format!("no memory for {len} bytes")))?;
    let mut rest = output.bytes_mut();
    for part in parts {
        let (place, after) = rest.split_at_mut(part.len());
        place.copy_from_slice(part);
        rest = after;
    }
    output.finish()
}
