//! Shards as Python has them: a sequence of buffers or the rows of one array, lent without a copy;
//! and the new objects that rebuilt shards and parity become.

#![expect(
    unsafe_code,
    reason = "rows of an array and new objects are Python memory as slices"
)]

use std::ops::Range;

use pyo3::{
    buffer::PyUntypedBuffer,
    exceptions::{PyMemoryError, PyTypeError},
    ffi,
    prelude::*,
    sync::PyOnceLock,
    types::{PyBytes, PyList, PyTuple, PyType},
};

use super::{
    buffer::{Destination, Input},
    output::NewBytes,
};
use crate::error::{Error, Result};

/// Most shards of a code; a sequence is read no further.
const MAX_SHARDS: usize = 256;

/// Shards held for reading for as long as a job needs them; some may be lost.
pub enum Shards {
    /// One buffer each; `None` is a lost one.
    Sequence(Vec<Option<Input>>),
    /// The rows of a two-dimensional array.
    Rows(Matrix),
}

impl Shards {
    /// Reads a sequence of buffers (`None` for a lost one) or a two-dimensional array of bytes.
    ///
    /// # Errors
    /// `TypeError` naming the first element that is neither, `InvalidInput` beyond 256 shards.
    pub fn new(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Some(matrix) = Matrix::of(object)? {
            return Ok(Self::Rows(matrix));
        }
        let mut shards = Vec::new();
        for (index, shard) in object.try_iter()?.enumerate() {
            if index == MAX_SHARDS {
                return Err(too_many().into());
            }
            let shard = shard?;
            let input = if shard.is_none() {
                None
            } else {
                Some(
                    shard
                        .extract()
                        .map_err(|error| of_shard(&shard, index, &error))?,
                )
            };
            shards.push(input);
        }
        Ok(Self::Sequence(shards))
    }

    /// How many there are, the lost ones included.
    pub fn len(&self) -> usize {
        match self {
            Self::Sequence(shards) => shards.len(),
            Self::Rows(matrix) => matrix.rows(),
        }
    }

    /// The bytes of each.
    pub fn slices(&self) -> Vec<Option<&[u8]>> {
        match self {
            Self::Sequence(shards) => shards
                .iter()
                .map(|shard| shard.as_ref().map(Input::bytes))
                .collect(),
            Self::Rows(matrix) => (0..matrix.rows())
                .map(|row| Some(matrix.row(row)))
                .collect(),
        }
    }

    /// The bytes of each, none of which may be lost.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] naming the first that is.
    pub fn whole(&self) -> Result<Vec<&[u8]>> {
        let whole = self.slices().into_iter().enumerate().map(|(index, shard)| {
            shard.ok_or_else(|| Error::InvalidInput(format!("shard {index} is None")))
        });
        whole.collect()
    }

    /// The length of the first shard that is there, which the core then asks of all; 0 if none is.
    pub fn first_len(&self) -> usize {
        let slices = self.slices();
        slices.into_iter().flatten().next().map_or(0, <[u8]>::len)
    }

    /// Bytes of all shards together.
    pub fn total_len(&self) -> usize {
        self.slices().into_iter().flatten().map(<[u8]>::len).sum()
    }
}

fn too_many() -> Error {
    Error::InvalidInput(format!(
        "more than {MAX_SHARDS} shards: data and parity together are at most {MAX_SHARDS}"
    ))
}

fn of_shard(shard: &Bound<'_, PyAny>, index: usize, error: &PyErr) -> PyErr {
    let py = shard.py();
    let text = format!("shard {index}: {}", error.value(py));
    PyErr::from_type(error.get_type(py), text)
}

/// Writable buffers, or the rows of a writable array, that share no memory with anything else here.
pub enum Targets {
    /// One buffer each.
    Sequence(Vec<Destination>),
    /// The rows of a two-dimensional array.
    Rows(Matrix),
}

impl Targets {
    /// Reads a sequence of writable buffers or a writable two-dimensional array.
    ///
    /// # Errors
    /// `TypeError` for anything else, `InvalidInput` if one of them shares memory with another one
    /// or with one of `inputs`.
    pub fn new(object: &Bound<'_, PyAny>, inputs: &Shards) -> PyResult<Self> {
        let mut targets = if let Some(matrix) = Matrix::of(object)? {
            if matrix.view.readonly() {
                return Err(PyTypeError::new_err(
                    "the output array is read-only; a writable one is required",
                ));
            }
            Self::Rows(matrix)
        } else {
            let mut buffers = Vec::new();
            for (index, buffer) in object.try_iter()?.enumerate() {
                if index == MAX_SHARDS {
                    return Err(too_many().into());
                }
                let buffer = buffer?;
                let named = |error| {
                    let py = buffer.py();
                    let error: PyErr = error;
                    let text = format!("output {index}: {}", error.value(py));
                    PyErr::from_type(error.get_type(py), text)
                };
                buffers.push(buffer.extract::<Destination>().map_err(named)?);
            }
            Self::Sequence(buffers)
        };
        targets.require_apart(inputs)?;
        Ok(targets)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Sequence(buffers) => buffers.len(),
            Self::Rows(matrix) => matrix.rows(),
        }
    }

    /// The memory of each.
    pub fn slices_mut(&mut self) -> Vec<&mut [u8]> {
        match self {
            Self::Sequence(buffers) => buffers.iter_mut().map(Destination::bytes_mut).collect(),
            Self::Rows(matrix) => matrix.rows_mut(),
        }
    }

    /// Addresses, without making slices that might overlap.
    fn ranges(&mut self) -> Vec<Range<usize>> {
        match self {
            Self::Sequence(buffers) => buffers
                .iter_mut()
                .map(|buffer| addresses(buffer.bytes_mut()))
                .collect(),
            Self::Rows(matrix) => (0..matrix.rows())
                .map(|row| {
                    let start = matrix.start(row).addr();
                    start..start + matrix.columns()
                })
                .collect(),
        }
    }

    fn require_apart(&mut self, inputs: &Shards) -> Result<()> {
        let outputs = self.ranges().into_iter().enumerate();
        let mut all: Vec<(Range<usize>, usize, bool)> =
            outputs.map(|(index, range)| (range, index, true)).collect();
        let inputs = inputs.slices().into_iter().enumerate();
        all.extend(inputs.filter_map(|(index, shard)| Some((addresses(shard?), index, false))));
        all.retain(|(range, ..)| !range.is_empty());
        all.sort_unstable_by_key(|(range, ..)| range.start);
        let name = |at: usize| {
            let (_, index, is_output) = &all[at];
            format!("{} {index}", if *is_output { "output" } else { "shard" })
        };
        // Inputs may overlap each other, so the one that reaches furthest is remembered.
        let (mut last_output, mut last_input): (Option<usize>, Option<usize>) = (None, None);
        for (at, (range, _, is_output)) in all.iter().enumerate() {
            let before = [last_output, if *is_output { last_input } else { None }];
            for earlier in before.into_iter().flatten() {
                if all[earlier].0.end > range.start {
                    return Err(Error::InvalidInput(format!(
                        "{} and {} share memory",
                        name(at),
                        name(earlier)
                    )));
                }
            }
            let last = if *is_output {
                &mut last_output
            } else {
                &mut last_input
            };
            if last.is_none_or(|last| all[last].0.end < range.end) {
                *last = Some(at);
            }
        }
        Ok(())
    }
}

fn addresses(slice: &[u8]) -> Range<usize> {
    let start = slice.as_ptr().addr();
    start..start + slice.len()
}

/// A two-dimensional buffer of bytes whose rows are contiguous.
pub struct Matrix {
    view: PyUntypedBuffer,
}

// `PyUntypedBuffer` is `Send` and `Sync`; the memory is lent for as long as it lives.

impl Matrix {
    /// The matrix behind an object; `None` if it is no buffer, such as a list.
    fn of(object: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        if object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>() {
            return Ok(None);
        }
        let Ok(view) = PyUntypedBuffer::get(object) else {
            return Ok(None);
        };
        if view.dimensions() != 2 {
            return Err(PyTypeError::new_err(format!(
                "a sequence of shards or an array of two dimensions is required, not one buffer \
                 of {}; rs.split cuts one into shards",
                view.dimensions()
            )));
        }
        if view.item_size() != 1 {
            return Err(PyTypeError::new_err(format!(
                "an array of bytes (uint8) is required, not of items of {} bytes",
                view.item_size()
            )));
        }
        let (rows, columns) = (view.shape()[0], view.shape()[1]);
        let contiguous = columns < 2 || view.strides()[1] == 1;
        if view.suboffsets().is_some() || !contiguous {
            return Err(PyTypeError::new_err(
                "the rows of the array are not contiguous; make a copy first",
            ));
        }
        if rows > MAX_SHARDS {
            return Err(too_many().into());
        }
        Ok(Some(Self { view }))
    }

    fn rows(&self) -> usize {
        self.view.shape()[0]
    }

    fn columns(&self) -> usize {
        self.view.shape()[1]
    }

    fn start(&self, row: usize) -> *mut u8 {
        let stride = self.view.strides()[0];
        let base = self.view.buf_ptr().cast::<u8>();
        base.wrapping_offset(stride.wrapping_mul(row.cast_signed()))
    }

    fn row(&self, row: usize) -> &[u8] {
        if self.columns() == 0 {
            return &[];
        }
        // SAFETY: the exporter vouches for `columns` bytes at this row, contiguous (checked in
        // `of`), and the view keeps them alive and in place. The hazard left over is the one of
        // `Input::bytes`: another thread may write there through Python.
        unsafe { std::slice::from_raw_parts(self.start(row), self.columns()) }
    }

    /// All rows for writing; they share no memory (`Targets::require_apart`).
    fn rows_mut(&mut self) -> Vec<&mut [u8]> {
        let columns = self.columns();
        if columns == 0 {
            return (0..self.rows()).map(|_| Default::default()).collect();
        }
        let starts = (0..self.rows()).map(|row| self.start(row));
        starts
            // SAFETY: as in `row`; the view is writable and its rows are apart, both checked in
            // `Targets::new`, and `&mut self` makes these the only slices made from it.
            .map(|start| unsafe { std::slice::from_raw_parts_mut(start, columns) })
            .collect()
    }
}

/// What a parity shard remembers: the code, and its place in it.
#[derive(Debug, Clone, Copy)]
pub struct Tag {
    /// Data shards of the code.
    pub data_shards: usize,
    /// Parity shards of the code.
    pub parity_shards: usize,
    /// Index in the codeword.
    pub index: usize,
}

/// A shard that native code fills in place, and that nobody else has seen yet.
pub enum NewShard {
    /// Data: plain `bytes`.
    Data(NewBytes),
    /// Parity: `shardpack.rs.ParityShard`, a subclass of `bytes`.
    Parity(NewParity),
}

impl NewShard {
    /// A shard of `len` bytes that is yet to be written.
    pub fn new(py: Python<'_>, tag: Tag, len: usize) -> PyResult<Self> {
        if tag.index < tag.data_shards {
            NewBytes::new(py, len).map(Self::Data)
        } else {
            NewParity::new(py, tag, len).map(Self::Parity)
        }
    }

    /// Shards of `len` bytes for these places of a code.
    pub fn all(
        py: Python<'_>,
        code: (usize, usize),
        places: impl IntoIterator<Item = usize>,
        len: usize,
    ) -> PyResult<Vec<Self>> {
        let (data_shards, parity_shards) = code;
        let tags = places.into_iter().map(|index| Tag {
            data_shards,
            parity_shards,
            index,
        });
        tags.map(|tag| Self::new(py, tag, len)).collect()
    }

    /// The memory to write to; what it holds before is unspecified.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Data(bytes) => bytes.bytes_mut(),
            Self::Parity(parity) => parity.bytes_mut(),
        }
    }

    /// The object, now that it is written; to be called once.
    pub fn finish(&mut self) -> Result<Py<PyAny>> {
        match self {
            Self::Data(bytes) => bytes.finish().map(Py::into_any),
            Self::Parity(parity) => parity.finish(),
        }
    }
}

/// The objects of shards that are written now.
pub fn finish(shards: &mut [NewShard]) -> Result<Vec<Py<PyAny>>> {
    shards.iter_mut().map(NewShard::finish).collect()
}

/// A `ParityShard` under construction.
pub struct NewParity {
    object: Option<Py<PyAny>>,
    start: *mut u8,
    len: usize,
}

// SAFETY: the object is kept alive by the reference held here; until `finish` nobody else has one,
// so the memory belongs to whoever holds this value.
unsafe impl Send for NewParity {}

impl NewParity {
    /// A tagged object of `len` zero bytes.
    ///
    /// `bytes.__new__` of a subclass makes the bytes twice and copies them; its allocator, which is
    /// what it calls for the second, makes them once. The class has a `__hash__` of its own because
    /// the hash that `bytes` caches is set by `bytes.__new__` alone.
    fn new(py: Python<'_>, tag: Tag, len: usize) -> PyResult<Self> {
        let kind = parity_type(py)?;
        let size = isize::try_from(len).map_err(|_| PyMemoryError::new_err(()))?;
        // SAFETY: the type is alive, and a heap type, as the function requires.
        let slot = unsafe { ffi::PyType_GetSlot(kind.as_type_ptr(), ffi::Py_tp_alloc) };
        // SAFETY: the slot of that number holds a function of that type, or null.
        let alloc =
            unsafe { std::mem::transmute::<*mut std::ffi::c_void, Option<ffi::allocfunc>>(slot) };
        let alloc = alloc.ok_or_else(|| PyTypeError::new_err("ParityShard has no allocator"))?;
        // SAFETY: an allocator takes its type and a number of items, and gives a new reference, or
        // null with an exception set. All bytes of the items, and the one after them, are zero.
        let object = unsafe { Bound::from_owned_ptr_or_err(py, alloc(kind.as_type_ptr(), size))? };
        // SAFETY: the object is an instance of a subclass of `bytes`.
        let start = unsafe { ffi::PyBytes_AsString(object.as_ptr()) }.cast::<u8>();
        let Tag {
            data_shards,
            parity_shards,
            index,
        } = tag;
        object.setattr(
            pyo3::intern!(py, "_tag"),
            (data_shards, parity_shards, index),
        )?;
        Ok(Self {
            object: Some(object.unbind()),
            start,
            len,
        })
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        if self.len == 0 {
            return &mut [];
        }
        // SAFETY: the object was just made with this length and nobody else has a reference, so the
        // memory is ours and initialised.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }

    fn finish(&mut self) -> Result<Py<PyAny>> {
        self.len = 0;
        let missing = || Error::Backend("a result was taken twice".into());
        self.object.take().ok_or_else(missing)
    }
}

/// The class `shardpack.rs.ParityShard`, which is Python's to describe.
fn parity_type(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let kind = CLASS.import(py, "shardpack.rs", "ParityShard")?;
    if kind.is_subclass_of::<PyBytes>()? {
        Ok(kind)
    } else {
        Err(PyTypeError::new_err("ParityShard is no subclass of bytes"))
    }
}
