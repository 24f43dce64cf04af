//! `crc32c` as Python calls it: straight to the core for a few `bytes`.
//!
//! PyO3's way from Python to Rust costs several times as much as the checksum of 64 bytes. Here it
//! is left out for the one case in which nothing can go wrong; all else goes that way.

#![expect(unsafe_code, reason = "CPython's own calling convention")]

use std::{
    ffi::{CString, c_ulong},
    ptr::null_mut,
    sync::atomic::{AtomicPtr, Ordering},
};

use pyo3::{
    exceptions::PyValueError,
    ffi::{
        METH_FASTCALL, METH_KEYWORDS, Py_DECREF, Py_INCREF, Py_XDECREF, Py_ssize_t,
        PyBytes_AsString, PyBytes_CheckExact, PyBytes_Size, PyCFunction_NewEx, PyDict_New,
        PyDict_SetItem, PyErr_Clear, PyErr_Occurred, PyLong_AsUnsignedLong,
        PyLong_FromUnsignedLong, PyMethodDef, PyMethodDefPointer, PyObject, PyObject_Call,
        PyTuple_GetItem, PyTuple_New, PyTuple_SetItem, PyTuple_Size,
    },
    prelude::*,
    types::PyCFunction,
};

use super::checksum;

/// The function that takes what [`crc32c`] does not. Never given back.
static THOROUGH: AtomicPtr<PyObject> = AtomicPtr::new(null_mut());

/// Adds the function to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let thorough: Bound<'_, PyCFunction> = wrap_pyfunction!(checksum::crc32c, module)?;
    let signature: String = thorough.getattr("__text_signature__")?.extract()?;
    let doc: String = thorough.getattr("__doc__")?.extract()?;
    let doc = CString::new(format!("crc32c{signature}\n--\n\n{doc}"))
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    let definition = Box::leak(Box::new(PyMethodDef {
        ml_name: c"crc32c".as_ptr(),
        ml_meth: PyMethodDefPointer {
            PyCFunctionFastWithKeywords: crc32c,
        },
        ml_flags: METH_FASTCALL | METH_KEYWORDS,
        ml_doc: doc.into_raw().cast_const(),
    }));
    THOROUGH.store(thorough.into_ptr(), Ordering::Release);
    let name = module.name()?;
    // SAFETY: the definition lives for ever, and so does what it points to; without a `self`, the
    // function belongs to the module of the name.
    let quick = unsafe {
        Bound::from_owned_ptr_or_err(py, PyCFunction_NewEx(definition, null_mut(), name.as_ptr()))
    };
    module.add("crc32c", quick?)
}

/// The checksum of `bytes` that are short; all else goes to the thorough function.
unsafe extern "C" fn crc32c(
    _module: *mut PyObject,
    arguments: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: Python passes `count` arguments by position, then those that `names` has, and holds a
    // reference to each during the call. It is attached to this thread.
    unsafe {
        if names.is_null()
            && (count == 1 || count == 2)
            && PyBytes_CheckExact(*arguments) != 0
            && let Some(init) = start_value(arguments, count)
        {
            let start = PyBytes_AsString(*arguments).cast::<u8>();
            let len = PyBytes_Size(*arguments).cast_unsigned();
            if len < checksum::SHORT {
                let bytes = std::slice::from_raw_parts(start, len);
                let crc = crate::checksum::crc32c(bytes, init);
                return PyLong_FromUnsignedLong(c_ulong::from(crc));
            }
        }
        call_thorough(arguments, count, names)
    }
}

/// The second argument, 0 if there is none; `None` if it is no number of 32 bits.
///
/// # Safety
/// As [`crc32c`].
unsafe fn start_value(arguments: *const *mut PyObject, count: Py_ssize_t) -> Option<u32> {
    if count < 2 {
        return Some(0);
    }
    // SAFETY: as the caller says.
    unsafe {
        let value = PyLong_AsUnsignedLong(*arguments.add(1));
        if value == c_ulong::MAX && !PyErr_Occurred().is_null() {
            PyErr_Clear();
            return None;
        }
        u32::try_from(value).ok()
    }
}

/// Hands all arguments over, in the way that every version of Python has for it.
///
/// # Safety
/// As [`crc32c`].
unsafe fn call_thorough(
    arguments: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: as the caller says; a tuple takes over the references that are made for it.
    unsafe {
        let by_position = PyTuple_New(count);
        if by_position.is_null() {
            return null_mut();
        }
        for at in 0..count {
            let argument = *arguments.offset(at);
            Py_INCREF(argument);
            PyTuple_SetItem(by_position, at, argument);
        }
        let mut by_name = null_mut();
        if !names.is_null() {
            by_name = PyDict_New();
            for at in 0..PyTuple_Size(names) {
                let argument = *arguments.offset(count + at);
                if by_name.is_null()
                    || PyDict_SetItem(by_name, PyTuple_GetItem(names, at), argument) < 0
                {
                    Py_DECREF(by_position);
                    Py_XDECREF(by_name);
                    return null_mut();
                }
            }
        }
        let result = PyObject_Call(THOROUGH.load(Ordering::Acquire), by_position, by_name);
        Py_DECREF(by_position);
        Py_XDECREF(by_name);
        result
    }
}
