//! The zstd codecs and their dictionaries.

use pyo3::{
    prelude::*,
    types::{PyBytes, PyDict},
};

use super::{
    buffer::Input,
    codec::{Codec, hash_of},
    output,
    run::{Work, run},
};
use crate::codec::{self, dict};

/// The codec ``cpu-zstd``: zstd 1.5.7.
///
/// Payloads are byte for byte those of the S4 gateway, unless ``content_size`` is set.
///
/// Args:
///     level: 1 (fast) to 22 (small), clamped.
///     content_size: Let frames state their length: faster for small records and for readers,
///         and still zstd for everyone, but not the bytes that S4 writes.
#[pyclass(module = "shardpack", extends = Codec, frozen)]
pub struct CpuZstd {
    level: i32,
    content_size: bool,
}

#[pymethods]
impl CpuZstd {
    #[new]
    #[pyo3(signature = (level=3, *, content_size=false))]
    fn new(level: i32, content_size: bool) -> PyClassInitializer<Self> {
        let codec = codec::CpuZstd::new(level, content_size);
        let level = codec.level();
        Codec::under(
            codec,
            Self {
                level,
                content_size,
            },
        )
    }

    /// The level in force.
    #[getter]
    fn level(&self) -> i32 {
        self.level
    }

    /// Do frames state their length?
    #[getter]
    fn content_size(&self) -> bool {
        self.content_size
    }

    fn __repr__(&self) -> String {
        if self.content_size {
            format!("CpuZstd(level={}, content_size=True)", self.level)
        } else {
            format!("CpuZstd(level={})", self.level)
        }
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| {
            let other = other.get();
            (self.level, self.content_size) == (other.level, other.content_size)
        })
    }

    fn __hash__(&self) -> u64 {
        hash_of(("cpu-zstd", self.level, self.content_size))
    }

    fn __getnewargs_ex__<'py>(&self, py: Python<'py>) -> PyResult<((i32,), Bound<'py, PyDict>)> {
        Ok(((self.level,), content_size_argument(py, self.content_size)?))
    }
}

/// The codec ``cpu-zstd-dict``: zstd with a dictionary, for small records that resemble each other.
///
/// The dictionary is prepared once, here, not at every call.
///
/// Args:
///     dict_bytes: A trained dictionary (``train_dict``), or any bytes as raw content.
///     level: 1 to 22, clamped.
///     content_size: As in ``CpuZstd``.
///
/// Raises:
///     S4BackendError: ``dict_bytes`` is empty.
#[pyclass(module = "shardpack", extends = Codec, frozen)]
pub struct CpuZstdDict {
    codec: codec::CpuZstd,
}

#[pymethods]
impl CpuZstdDict {
    #[new]
    #[pyo3(signature = (dict_bytes, level=3, *, content_size=false))]
    fn new(
        dict_bytes: Input,
        level: i32,
        content_size: bool,
    ) -> PyResult<PyClassInitializer<Self>> {
        let codec = codec::CpuZstd::new_with_dictionary(dict_bytes.bytes(), level, content_size)?;
        Ok(Codec::under(codec.clone(), Self { codec }))
    }

    /// The level in force.
    #[getter]
    fn level(&self) -> i32 {
        self.codec.level()
    }

    /// Do frames state their length?
    #[getter]
    fn content_size(&self) -> bool {
        self.codec.content_size()
    }

    /// The dictionary.
    #[getter]
    fn dict_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.dictionary())
    }

    /// The dictionary's id: see ``dict_id``.
    #[getter]
    fn dict_id(&self) -> &str {
        self.codec
            .dictionary()
            .map_or("", |dictionary| dictionary.id())
    }

    fn __repr__(&self) -> String {
        format!(
            "CpuZstdDict(dict_len={}, level={})",
            self.dictionary().len(),
            self.level()
        )
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other
            .cast::<Self>()
            .is_ok_and(|other| self.facts() == other.get().facts())
    }

    fn __hash__(&self) -> u64 {
        hash_of(("cpu-zstd-dict", self.facts()))
    }

    #[expect(clippy::type_complexity, reason = "the tuple that pickle asks for")]
    fn __getnewargs_ex__<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<((Bound<'py, PyBytes>, i32), Bound<'py, PyDict>)> {
        Ok((
            (self.dict_bytes(py), self.level()),
            content_size_argument(py, self.content_size())?,
        ))
    }
}

impl CpuZstdDict {
    fn dictionary(&self) -> &[u8] {
        self.codec
            .dictionary()
            .map_or(&[], |dictionary| dictionary.bytes())
    }

    fn facts(&self) -> (&[u8], i32, bool) {
        (self.dictionary(), self.level(), self.content_size())
    }
}

fn content_size_argument(py: Python<'_>, content_size: bool) -> PyResult<Bound<'_, PyDict>> {
    let arguments = PyDict::new(py);
    if content_size {
        arguments.set_item("content_size", true)?;
    }
    Ok(arguments)
}

/// Train a zstd dictionary from samples.
///
/// Args:
///     samples: Records like those to be compressed; many, and about 100 times ``size`` in all.
///     size: Most bytes of the dictionary; 112,640 by default, at most 1 MiB where an S4 gateway
///         is to read it.
///
/// Returns:
///     The dictionary, for ``CpuZstdDict``.
///
/// Raises:
///     S4Error: The samples are too few or too short.
#[pyfunction]
#[pyo3(signature = (samples, size=dict::DEFAULT_TRAINED_LEN))]
pub fn train_dict(py: Python<'_>, samples: Vec<Input>, size: usize) -> PyResult<Py<PyBytes>> {
    let len = samples.iter().map(|sample| sample.bytes().len()).sum();
    run(py, Work::compress(len), move |_| {
        let lens: Vec<usize> = samples.iter().map(|sample| sample.bytes().len()).collect();
        let joined: Vec<u8> = samples.iter().flat_map(Input::bytes).copied().collect();
        output::join(&[&dict::train(&joined, &lens, size)?])
    })
}

/// The id under which S4 stores a dictionary: the first 16 hexadecimal digits of its SHA-256.
#[pyfunction]
#[pyo3(signature = (dict))]
pub fn dict_id(dict: Input) -> String {
    dict::dict_id(dict.bytes())
}
