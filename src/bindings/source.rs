//! Many records in one argument: held for as long as a job needs them, read without a copy.

#![expect(
    unsafe_code,
    reason = "slices of memory that the same struct keeps alive"
)]

use arrow_array::ArrayRef;
use pyo3::{
    prelude::*,
    types::{PyBytes, PyList, PyTuple},
};

use super::{array, buffer::Input};

/// A record costs at least this much, however short it is.
const RECORD_WEIGHT: usize = 64;

/// A sequence of buffers, or Arrow arrays.
pub struct Source {
    /// Point into what the fields below hold; handed out for no longer than `self` is borrowed.
    values: Vec<Option<&'static [u8]>>,
    len: usize,
    is_arrow: bool,
    _arrays: Vec<ArrayRef>,
    /// The records of a list. Holding them together costs a tenth of holding each on its own.
    _items: Option<Py<PyTuple>>,
    /// Records that are no `bytes`, and those that no list holds.
    _views: Vec<Input>,
}

impl Source {
    pub fn new(records: &Bound<'_, PyAny>) -> PyResult<Self> {
        let mut found = Found::default();
        let arrays = array::import(records)?;
        let is_arrow = arrays.is_some();
        let arrays = arrays.unwrap_or_default();
        let mut items = None;
        if is_arrow {
            for array in &arrays {
                found.take_array(array);
            }
        } else if let Some(tuple) = items_of(records) {
            found.values.reserve(tuple.len());
            for (index, item) in tuple.iter_borrowed().enumerate() {
                found.take_item(index, &item)?;
            }
            items = Some(tuple.unbind());
        } else {
            for (index, record) in records.try_iter()?.enumerate() {
                found.take(index, &record?)?;
            }
        }
        let cost = |value: Option<&[u8]>| value.map_or(0, <[u8]>::len) + RECORD_WEIGHT;
        Ok(Self {
            len: found.values.iter().copied().map(cost).sum(),
            values: found.values,
            is_arrow,
            _arrays: arrays,
            _items: items,
            _views: found.views,
        })
    }

    pub const fn is_arrow(&self) -> bool {
        self.is_arrow
    }

    /// Bytes of all records, each counted with what any record costs.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// The records; `None` for nulls.
    pub fn slices(&self) -> &[Option<&[u8]>] {
        &self.values
    }

    /// The records that are no nulls.
    pub fn present(&self) -> Vec<&[u8]> {
        self.values.iter().copied().flatten().collect()
    }

    /// Where the first null is.
    pub fn first_null(&self) -> Option<usize> {
        self.values.iter().position(Option::is_none)
    }
}

/// What a [`Source`] consists of, while it is put together.
#[derive(Default)]
struct Found {
    values: Vec<Option<&'static [u8]>>,
    views: Vec<Input>,
}

impl Found {
    fn take_array(&mut self, array: &ArrayRef) {
        // SAFETY: the source keeps the array, whose memory stays where it is.
        let values = array::slices(array).map(|value| value.map(|value| unsafe { extend(value) }));
        self.values.extend(values);
    }

    /// Takes a record that the source keeps alive together with others.
    fn take_item(&mut self, index: usize, item: &Bound<'_, PyAny>) -> PyResult<()> {
        let Ok(bytes) = item.cast::<PyBytes>() else {
            return self.take(index, item);
        };
        // SAFETY: the source keeps a reference to the object, whose bytes never change.
        self.values.push(Some(unsafe { extend(bytes.as_bytes()) }));
        Ok(())
    }

    fn take(&mut self, index: usize, record: &Bound<'_, PyAny>) -> PyResult<()> {
        if record.is_none() {
            self.values.push(None);
            return Ok(());
        }
        let view = record
            .extract::<Input>()
            .map_err(|error| name_record(record.py(), index, &error))?;
        // SAFETY: the source keeps the view, which keeps the memory in place. Another thread may
        // write to it: the hazard that `Input::bytes` describes.
        self.values.push(Some(unsafe { extend(view.bytes()) }));
        self.views.push(view);
        Ok(())
    }
}

/// What a list or tuple holds, as it is now: another thread may change the list.
fn items_of<'py>(records: &Bound<'py, PyAny>) -> Option<Bound<'py, PyTuple>> {
    if let Ok(list) = records.cast_exact::<PyList>() {
        return Some(list.to_tuple());
    }
    records.cast_exact::<PyTuple>().ok().cloned()
}

/// The same slice for as long as its memory is there.
///
/// # Safety
/// The memory must stay for as long as the result is used.
const unsafe fn extend<'a>(slice: &[u8]) -> &'a [u8] {
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(slice.as_ptr(), slice.len()) }
}

fn name_record(py: Python<'_>, index: usize, error: &PyErr) -> PyErr {
    let text = format!("record {index}: {}", error.value(py));
    PyErr::from_type(error.get_type(py), text)
}
