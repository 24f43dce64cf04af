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
/// Payloads are byte for byte those of the S4 gateway, unless one of the options is set; with them
/// they are still zstd for everyone.
///
/// Args:
///     level: 1 (fast) to 22 (small), clamped.
///     content_size: Let frames state their length: faster for small records and for readers.
///     checksum: Let frames end with a checksum, as the ``zstd`` tool does. The CRC32C that
///         ``compress`` returns makes it superfluous wherever that is kept.
#[pyclass(module = "shardpack", extends = Codec, frozen)]
pub struct CpuZstd {
    codec: codec::CpuZstd,
}

#[pymethods]
impl CpuZstd {
    #[new]
    #[pyo3(signature = (level=3, *, content_size=false, checksum=false))]
    fn new(level: i32, content_size: bool, checksum: bool) -> PyClassInitializer<Self> {
        let codec = codec::CpuZstd::new(level, content_size).with_checksum(checksum);
        Codec::under(codec.clone(), Self { codec })
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

    /// Do frames end with a checksum?
    #[getter]
    fn checksum(&self) -> bool {
        self.codec.checksum()
    }

    fn __repr__(&self) -> String {
        format!(
            "CpuZstd(level={}{})",
            self.level(),
            options_text(&self.codec)
        )
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other
            .cast::<Self>()
            .is_ok_and(|other| facts(&self.codec) == facts(&other.get().codec))
    }

    fn __hash__(&self) -> u64 {
        hash_of(("cpu-zstd", facts(&self.codec)))
    }

    fn __getnewargs_ex__<'py>(&self, py: Python<'py>) -> PyResult<((i32,), Bound<'py, PyDict>)> {
        Ok(((self.level(),), options(py, &self.codec)?))
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
///     checksum: As in ``CpuZstd``.
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
    #[pyo3(signature = (dict_bytes, level=3, *, content_size=false, checksum=false))]
    fn new(
        dict_bytes: Input,
        level: i32,
        content_size: bool,
        checksum: bool,
    ) -> PyResult<PyClassInitializer<Self>> {
        let codec = codec::CpuZstd::new_with_dictionary(dict_bytes.bytes(), level, content_size)?
            .with_checksum(checksum);
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

    /// Do frames end with a checksum?
    #[getter]
    fn checksum(&self) -> bool {
        self.codec.checksum()
    }

    /// The dictionary.
    #[getter]
    fn dict_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, dictionary(&self.codec))
    }

    /// The dictionary's id: see ``dict_id``.
    #[getter]
    fn dict_id(&self) -> &str {
        self.codec
            .dictionary()
            .map_or("", |dictionary| dictionary.id())
    }

    fn __repr__(&self) -> String {
        let (len, level) = (dictionary(&self.codec).len(), self.level());
        format!(
            "CpuZstdDict(dict_len={len}, level={level}{})",
            options_text(&self.codec)
        )
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other
            .cast::<Self>()
            .is_ok_and(|other| facts(&self.codec) == facts(&other.get().codec))
    }

    fn __hash__(&self) -> u64 {
        hash_of(("cpu-zstd-dict", facts(&self.codec)))
    }

    #[expect(clippy::type_complexity, reason = "the tuple that pickle asks for")]
    fn __getnewargs_ex__<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<((Bound<'py, PyBytes>, i32), Bound<'py, PyDict>)> {
        Ok((
            (self.dict_bytes(py), self.level()),
            options(py, &self.codec)?,
        ))
    }
}

fn dictionary(codec: &codec::CpuZstd) -> &[u8] {
    codec
        .dictionary()
        .map_or(&[], |dictionary| dictionary.bytes())
}

/// All that makes two codecs equal.
fn facts(codec: &codec::CpuZstd) -> (&[u8], i32, bool, bool) {
    (
        dictionary(codec),
        codec.level(),
        codec.content_size(),
        codec.checksum(),
    )
}

/// The options that are set, by name.
fn set_options(codec: &codec::CpuZstd) -> impl Iterator<Item = &'static str> {
    let options = [
        ("content_size", codec.content_size()),
        ("checksum", codec.checksum()),
    ];
    options
        .into_iter()
        .filter_map(|(name, set)| set.then_some(name))
}

fn options_text(codec: &codec::CpuZstd) -> String {
    set_options(codec)
        .flat_map(|name| [", ", name, "=True"])
        .collect()
}

fn options<'py>(py: Python<'py>, codec: &codec::CpuZstd) -> PyResult<Bound<'py, PyDict>> {
    let arguments = PyDict::new(py);
    for name in set_options(codec) {
        arguments.set_item(name, true)?;
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
#[pyo3(signature = (samples, size=dict::DEFAULT_TRAINED_LEN), text_signature = "(samples, size=112640)")]
pub fn train_dict(
    py: Python<'_>,
    samples: &Bound<'_, PyAny>,
    size: usize,
) -> PyResult<Py<PyBytes>> {
    let samples: Vec<Input> = samples
        .try_iter()?
        .map(|sample| sample?.extract())
        .collect::<PyResult<_>>()?;
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
