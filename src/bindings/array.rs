//! Arrow arrays across the PyCapsule interface, both ways, without copying values on the way in.

use std::{ffi::CStr, sync::Arc};

use arrow_array::{
    Array, ArrayRef, GenericBinaryArray, OffsetSizeTrait,
    cast::AsArray,
    ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi, to_ffi},
    ffi_stream::{ArrayStreamReader, FFI_ArrowArrayStream},
    make_array,
};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow_schema::{ArrowError, DataType};
use pyo3::{
    exceptions::{PyIndexError, PyTypeError, PyValueError},
    prelude::*,
    types::{PyBytes, PyCapsule, PyIterator, PyList, PyTuple},
};

use super::buffer::Input;
use crate::{
    codec::record::Run,
    error::{Error, Result},
};

const SCHEMA: &CStr = c"arrow_schema";
const ARRAY: &CStr = c"arrow_array";
const STREAM: &CStr = c"arrow_array_stream";

/// An Arrow array of binary values; what the batch calls return for Arrow input.
///
/// Anything that speaks the Arrow PyCapsule interface takes it as it is: ``pyarrow.array(result)``,
/// ``polars.Series(result)``, a Spark ``arrow_udf``. Type ``binary``, or ``large_binary`` from 2 GiB.
#[pyclass(module = "shardpack", frozen, sequence)]
pub struct BinaryArray(ArrayRef);

impl From<ArrayRef> for BinaryArray {
    fn from(array: ArrayRef) -> Self {
        Self(array)
    }
}

#[pymethods]
impl BinaryArray {
    /// Args:
    ///     values: Buffers, or None for nulls.
    #[new]
    #[pyo3(signature = (values, /))]
    fn new(values: Vec<Option<Input>>) -> PyResult<Self> {
        let mut run = Run::default();
        for value in &values {
            let bytes = value.as_ref().map(Input::bytes);
            run.bytes.extend_from_slice(bytes.unwrap_or_default());
            run.lens.push(bytes.map(<[u8]>::len));
        }
        Ok(Self(from_runs(vec![run])?))
    }

    fn __getnewargs__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyList>,)> {
        let values = slices(&self.0).map(|value| value.map(|value| PyBytes::new(py, value)));
        Ok((PyList::new(py, values.collect::<Vec<_>>())?,))
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __getitem__<'py>(
        &self,
        py: Python<'py>,
        index: isize,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let len = self.0.len().cast_signed();
        let at = if index < 0 { index + len } else { index };
        if !(0..len).contains(&at) {
            return Err(PyIndexError::new_err(format!(
                "index {index} is out of range for {len} values"
            )));
        }
        let value = slices(&self.0.slice(at.cast_unsigned(), 1))
            .next()
            .flatten()
            .map(|value| PyBytes::new(py, value));
        Ok(value)
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        self.__getnewargs__(py)?.0.try_iter()
    }

    /// Bytes of memory that the array refers to.
    #[getter]
    fn nbytes(&self) -> usize {
        self.0.get_buffer_memory_size()
    }

    fn __repr__(&self) -> String {
        format!(
            "<BinaryArray of {} values, {} bytes>",
            self.0.len(),
            self.nbytes()
        )
    }

    /// Export to the Arrow C data interface: ``(schema, array)`` capsules.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        // A wish that may be left unfulfilled: the consumer sees the true type in the schema.
        let _ = requested_schema;
        let (array, schema) = to_ffi(&self.0.to_data()).map_err(arrow_error)?;
        let schema = PyCapsule::new_with_value(py, schema, SCHEMA)?;
        let array = PyCapsule::new_with_value(py, array, ARRAY)?;
        PyTuple::new(py, [schema, array])
    }

    /// The array as a ``pyarrow.Array``, without a copy.
    ///
    /// Raises:
    ///     ModuleNotFoundError: pyarrow is not installed.
    fn to_pyarrow<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("pyarrow")?.call_method1("array", (slf,))
    }
}

/// The arrays behind an object, if it speaks the PyCapsule interface.
pub fn import(object: &Bound<'_, PyAny>) -> PyResult<Option<Vec<ArrayRef>>> {
    let arrays = if object.hasattr("__arrow_c_array__")? {
        vec![import_array(&object.call_method0("__arrow_c_array__")?)?]
    } else if object.hasattr("__arrow_c_stream__")? {
        import_stream(&object.call_method0("__arrow_c_stream__")?)?
    } else {
        return Ok(None);
    };
    match arrays
        .iter()
        .find(|array| !is_bytes_like(array.data_type()))
    {
        Some(array) => Err(PyTypeError::new_err(format!(
            "an Arrow array of binary or string values is required, not {}",
            array.data_type()
        ))),
        None => Ok(Some(arrays)),
    }
}

#[expect(unsafe_code, reason = "C structs behind capsules")]
fn import_array(pair: &Bound<'_, PyAny>) -> PyResult<ArrayRef> {
    let (schema, array): (Bound<'_, PyCapsule>, Bound<'_, PyCapsule>) = pair.extract()?;
    let schema = schema
        .pointer_checked(Some(SCHEMA))?
        .cast::<FFI_ArrowSchema>();
    let array = array.pointer_checked(Some(ARRAY))?.cast::<FFI_ArrowArray>();
    // SAFETY: the capsules have the names that the PyCapsule interface reserves for these structs,
    // and live until the end of this function. Taking a struct out leaves a released one behind,
    // which is how the interface hands over ownership.
    let (schema, array) = unsafe {
        (
            FFI_ArrowSchema::from_raw(schema.as_ptr()),
            FFI_ArrowArray::from_raw(array.as_ptr()),
        )
    };
    // SAFETY: the producer vouches for what its struct points to, as everywhere in Arrow; a producer
    // in the same process needs no such trick to harm it.
    let data = unsafe { from_ffi(array, &schema) }.map_err(arrow_error)?;
    data.validate_full().map_err(arrow_error)?;
    Ok(make_array(data))
}

#[expect(unsafe_code, reason = "C structs behind capsules")]
fn import_stream(capsule: &Bound<'_, PyAny>) -> PyResult<Vec<ArrayRef>> {
    let stream = capsule
        .cast::<PyCapsule>()?
        .pointer_checked(Some(STREAM))?
        .cast::<FFI_ArrowArrayStream>();
    // SAFETY: as in `import_array`.
    let reader = unsafe { ArrayStreamReader::from_raw(stream.as_ptr()) }.map_err(arrow_error)?;
    reader
        .map(|array| {
            let array = array.map_err(arrow_error)?;
            array.to_data().validate_full().map_err(arrow_error)?;
            Ok(array)
        })
        .collect()
}

fn arrow_error(error: ArrowError) -> PyErr {
    PyValueError::new_err(format!("arrow: {error}"))
}

fn is_bytes_like(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_)
            | DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
    )
}

/// The values of an array that [`import`] has let through.
pub fn slices(array: &ArrayRef) -> Box<dyn Iterator<Item = Option<&[u8]>> + '_> {
    fn text(value: Option<&str>) -> Option<&[u8]> {
        value.map(str::as_bytes)
    }
    match array.data_type() {
        DataType::Binary => Box::new(array.as_binary::<i32>().iter()),
        DataType::LargeBinary => Box::new(array.as_binary::<i64>().iter()),
        DataType::BinaryView => Box::new(array.as_binary_view().iter()),
        DataType::FixedSizeBinary(_) => Box::new(array.as_fixed_size_binary().iter()),
        DataType::Utf8 => Box::new(array.as_string::<i32>().iter().map(text)),
        DataType::LargeUtf8 => Box::new(array.as_string::<i64>().iter().map(text)),
        DataType::Utf8View => Box::new(array.as_string_view().iter().map(text)),
        _ => Box::new(std::iter::empty()),
    }
}

/// One array of the results of all records.
pub fn from_runs(mut runs: Vec<Run>) -> Result<ArrayRef> {
    let nulls: NullBuffer = runs
        .iter()
        .flat_map(|run| run.lens.iter().map(Option::is_some))
        .collect();
    let nulls = (nulls.null_count() > 0).then_some(nulls);
    let lens: Vec<usize> = runs
        .iter()
        .flat_map(|run| run.lens.iter().map(|len| len.unwrap_or(0)))
        .collect();
    let values = if let [only] = runs.as_mut_slice() {
        std::mem::take(&mut only.bytes)
    } else {
        let mut joined = Vec::with_capacity(runs.iter().map(|run| run.bytes.len()).sum());
        for run in runs {
            joined.extend_from_slice(&run.bytes);
        }
        joined
    };
    if i32::try_from(values.len()).is_ok() {
        build::<i32>(lens, values, nulls)
    } else {
        build::<i64>(lens, values, nulls)
    }
}

fn build<O: OffsetSizeTrait>(
    lens: Vec<usize>,
    values: Vec<u8>,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    let offsets = OffsetBuffer::<O>::from_lengths(lens);
    GenericBinaryArray::<O>::try_new(offsets, Buffer::from_vec(values), nulls)
        .map(|array| Arc::new(array) as ArrayRef)
        .map_err(|error| Error::Backend(format!("arrow: {error}")))
}
