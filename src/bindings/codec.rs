//! The codec classes. The base class has the methods, the others their parameters.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use pyo3::{
    PyClass,
    prelude::*,
    types::{PyBytes, PyTuple},
};

use super::{
    batch,
    buffer::{Destination, Input},
    output::{self, NewBytes},
    run::{DETACH_FROM, Work, run},
    stream::{Compressor, Decompressor},
};
use crate::{
    checksum,
    codec::{self, Claim, CodecKind, MAX_ORIGINAL_SIZE, plain},
    error::Error,
    frame::read::{self, Decoding},
    pool::Cancel,
};

/// What every codec can do. Codecs are immutable, safe to share between threads, and pickle.
#[pyclass(module = "shardpack", subclass, frozen)]
pub struct Codec {
    pub(super) inner: Arc<dyn codec::Codec>,
}

impl Codec {
    /// What the constructor of a class on top of this one returns.
    pub fn under<T>(inner: impl codec::Codec + 'static, class: T) -> PyClassInitializer<T>
    where
        T: PyClass<BaseType = Self>,
    {
        PyClassInitializer::from(Self {
            inner: Arc::new(inner),
        })
        .add_subclass(class)
    }
}

#[pymethods]
impl Codec {
    /// The codec's name in S4 metadata, e.g. ``"cpu-zstd"``.
    #[getter]
    fn name(&self) -> &'static str {
        self.inner.kind().name()
    }

    /// Compress a buffer to one payload.
    ///
    /// Args:
    ///     data: Any C-contiguous buffer.
    ///
    /// Returns:
    ///     ``(payload, original_size, crc32c)``; the numbers are what ``decompress`` wants back.
    ///
    /// Raises:
    ///     TypeError: ``data`` is no contiguous buffer.
    ///     S4IoError: the dictionary is damaged.
    fn compress(&self, py: Python<'_>, data: Input) -> PyResult<(Py<PyBytes>, usize, u32)> {
        let codec = Arc::clone(&self.inner);
        let len = data.bytes().len();
        if len < SMALL {
            // A record: on this thread, and to Python straight from the scratch memory.
            let data = data.bytes();
            let payload = codec::with_scratch(codec.compress_bound(len), |scratch| {
                let mut work = || codec.compress_into(data, scratch, &Cancel::new());
                let written = if len < DETACH_FROM {
                    work()
                } else {
                    py.detach(work)
                }?;
                Ok((PyBytes::new(py, &scratch[..written]).unbind(), written))
            });
            return Ok((payload?, len, checksum::crc32c(data, 0)));
        }
        let (payload, crc) = run(py, Work::compress(len), move |cancel| {
            let data = data.bytes();
            let payload =
                codec::compress_with(&*codec, data, cancel, |payload| output::join(&[payload]))??;
            Ok((payload, checksum::crc32c_parallel(data, 0)))
        })?;
        Ok((payload, len, crc))
    }

    /// Decompress one payload and check it.
    ///
    /// Checks in this order: the claim against the limit, the payload itself, its length, its CRC32C.
    /// A gzip payload is its first member, as S4 reads it; ``decompress_all`` reads every member.
    ///
    /// Args:
    ///     data: The payload.
    ///     original_size: Length in bytes that it decodes to.
    ///     crc32c: CRC32C of the decoded bytes.
    ///     max_original_size: Largest ``original_size`` in bytes that is believed, default 5 GiB.
    ///
    /// Returns:
    ///     The original bytes.
    ///
    /// Raises:
    ///     S4ManifestSizeExceedsLimitError: ``original_size`` is above the limit.
    ///     S4IoError: The payload is damaged, or holds more than ``original_size``.
    ///     S4SizeMismatchError: The payload holds less than ``original_size``.
    ///     S4CrcMismatchError: The decoded bytes have another CRC32C.
    #[pyo3(signature = (data, original_size, crc32c, *, max_original_size=MAX_ORIGINAL_SIZE))]
    fn decompress(
        &self,
        py: Python<'_>,
        data: Input,
        original_size: u64,
        crc32c: u32,
        max_original_size: u64,
    ) -> PyResult<Py<PyBytes>> {
        let claim = Claim {
            original_size,
            crc32c,
        };
        let codec = Arc::clone(&self.inner);
        let len = if codec.kind() == CodecKind::Passthrough {
            let cancel = Cancel::new();
            let decoding = Decoding {
                dictionary: None,
                dict_id: None,
                limit: max_original_size,
                cancel: &cancel,
            };
            read::payload_output_len(CodecKind::Passthrough, data.bytes(), claim, decoding)?
        } else {
            codec::output_len(&*codec, data.bytes(), claim, max_original_size)?
        };
        let mut output = NewBytes::new(py, len)?;
        run(
            py,
            Work::decode(len.max(data.bytes().len())),
            move |cancel| {
                codec::decompress_claimed(
                    &*codec,
                    data.bytes(),
                    claim,
                    output.bytes_mut(),
                    cancel,
                )?;
                output.finish()
            },
        )
    }

    /// An upper bound for the payload of ``size`` bytes: what ``compress_into`` may need.
    fn compress_bound(&self, size: usize) -> PyResult<usize> {
        if size > isize::MAX as usize / 2 {
            return Err(Error::Argument(format!("{size} bytes do not fit in memory")).into());
        }
        Ok(self.inner.compress_bound(size))
    }

    /// Compress into memory of the caller.
    ///
    /// Args:
    ///     data: Any C-contiguous buffer.
    ///     dst: A writable C-contiguous buffer; ``compress_bound(len(data))`` bytes always suffice.
    ///
    /// Returns:
    ///     ``(payload_size, original_size, crc32c)``; the payload is ``dst[:payload_size]``.
    ///
    /// Raises:
    ///     S4Error: ``dst`` is too small.
    ///     KeyboardInterrupt: Interrupted; ``dst`` holds anything and may change for a moment yet.
    fn compress_into(
        &self,
        py: Python<'_>,
        data: Input,
        mut dst: Destination,
    ) -> PyResult<(usize, usize, u32)> {
        let codec = Arc::clone(&self.inner);
        let len = data.bytes().len();
        run(py, Work::compress(len), move |cancel| {
            let data = data.bytes();
            let written = codec.compress_into(data, dst.bytes_mut(), cancel)?;
            Ok((written, data.len(), checksum::crc32c_parallel(data, 0)))
        })
    }

    /// Decompress one payload into memory of the caller, which may be reused from call to call.
    ///
    /// Args:
    ///     data: The payload.
    ///     dst: A writable C-contiguous buffer.
    ///     crc32c: CRC32C to check the decoded bytes against, if known.
    ///
    /// Returns:
    ///     The number of bytes written to the front of ``dst``.
    ///
    /// Raises:
    ///     S4IoError: The payload is damaged, or holds more than fits.
    ///     KeyboardInterrupt: Interrupted; ``dst`` holds anything and may change for a moment yet.
    ///     S4CrcMismatchError: The decoded bytes have another CRC32C.
    #[pyo3(signature = (data, dst, crc32c=None))]
    fn decompress_into(
        &self,
        py: Python<'_>,
        data: Input,
        mut dst: Destination,
        crc32c: Option<u32>,
    ) -> PyResult<usize> {
        let codec = Arc::clone(&self.inner);
        run(py, Work::decode(dst.len()), move |cancel| {
            let dst = dst.bytes_mut();
            let len = codec.decompress_into(data.bytes(), dst, cancel)?;
            if let Some(crc32c) = crc32c {
                codec::check_claim(
                    Claim {
                        original_size: len as u64,
                        crc32c,
                    },
                    &dst[..len],
                )?;
            }
            Ok(len)
        })
    }

    /// Decompress a plain stream: every zstd frame, every gzip member.
    ///
    /// Frames and members that state their lengths are decoded in parallel.
    ///
    /// Args:
    ///     data: The stream, whoever wrote it.
    ///     original_size: Length in bytes that must come out, if known.
    ///     max_original_size: Most bytes that may come out, default 5 GiB.
    ///     threads: Threads to use; by default see ``thread_count``.
    ///
    /// Returns:
    ///     The original bytes.
    ///
    /// Raises:
    ///     S4IoError: The stream is damaged, cut short, or holds more than the limit.
    ///     S4ManifestSizeExceedsLimitError: The stream states more than the limit.
    ///     S4SizeMismatchError: Another length than ``original_size`` came out.
    #[pyo3(signature = (data, *, original_size=None, max_original_size=MAX_ORIGINAL_SIZE, threads=None))]
    fn decompress_all(
        &self,
        py: Python<'_>,
        data: Input,
        original_size: Option<u64>,
        max_original_size: u64,
        threads: Option<usize>,
    ) -> PyResult<Py<PyBytes>> {
        let limit = original_size.map_or(max_original_size, |size| size.min(max_original_size));
        let codec = Arc::clone(&self.inner);
        let stored = data.bytes().len();
        let stated = plain::open(&*codec, data.bytes(), max_original_size)?.1;
        let right_size = move |len: usize| match original_size {
            Some(expected) if expected != len as u64 => Err(Error::SizeMismatch {
                expected,
                actual: len as u64,
            }),
            _ => Ok(()),
        };
        let stated = stated.filter(|&len| right_size(len).is_ok());
        let mut output = stated.map(|len| NewBytes::new(py, len)).transpose()?;
        let weight = stated.unwrap_or(0).max(stored.saturating_mul(4));
        run(py, Work::decode(weight).on(threads), move |cancel| {
            if let Some(output) = &mut output {
                let (pieces, _) = plain::open(&*codec, data.bytes(), limit)?;
                if plain::decode_pieces(&*codec, &pieces, output.bytes_mut(), cancel)? {
                    return output.finish();
                }
            }
            let mut decoded = Vec::new();
            codec.decompress_all(data.bytes(), &mut decoded, limit, cancel)?;
            right_size(decoded.len())?;
            output::join(&[&decoded])
        })
    }

    /// Compress many records in one call, in parallel.
    ///
    /// Args:
    ///     records: A sequence of buffers, or an Arrow array or stream of binary or string values
    ///         (anything with ``__arrow_c_array__`` or ``__arrow_c_stream__``: pyarrow, pandas with
    ///         Arrow types, polars, nanoarrow). ``None`` and nulls stay null.
    ///     threads: Threads to use; by default see ``thread_count``.
    ///
    /// Returns:
    ///     The payloads in order: a list of ``bytes`` for a sequence, a ``BinaryArray`` for Arrow.
    #[pyo3(signature = (records, *, threads=None))]
    fn compress_many<'py>(
        &self,
        py: Python<'py>,
        records: &Bound<'py, PyAny>,
        threads: Option<usize>,
    ) -> PyResult<Bound<'py, PyAny>> {
        batch::compress_many(py, Arc::clone(&self.inner), records, threads)
    }

    /// Decompress many records in one call, in parallel.
    ///
    /// Each record is read as by ``decompress_all``.
    ///
    /// Args:
    ///     records: As in ``compress_many``.
    ///     max_original_size: Most bytes that one record may decode to, default 5 GiB.
    ///     threads: Threads to use; by default see ``thread_count``.
    ///
    /// Returns:
    ///     The originals in order: a list of ``bytes`` for a sequence, a ``BinaryArray`` for Arrow.
    ///
    /// Raises:
    ///     S4IoError: A record is damaged; the text begins with ``record N:``.
    #[pyo3(signature = (records, *, max_original_size=MAX_ORIGINAL_SIZE, threads=None))]
    fn decompress_many<'py>(
        &self,
        py: Python<'py>,
        records: &Bound<'py, PyAny>,
        max_original_size: u64,
        threads: Option<usize>,
    ) -> PyResult<Bound<'py, PyAny>> {
        batch::decompress_many(
            py,
            Arc::clone(&self.inner),
            records,
            max_original_size,
            threads,
        )
    }

    /// A compressor for data that come piece by piece.
    fn compressor(&self) -> PyResult<Compressor> {
        Ok(Compressor::new(self.inner.compressor()?))
    }

    /// A decompressor for a plain stream that comes piece by piece; reads every frame and member.
    fn decompressor(&self) -> PyResult<Decompressor> {
        Ok(Decompressor::new(self.inner.decompressor()?))
    }
}

/// Below this a call runs on its own thread and signals can wait.
const SMALL: usize = 64 << 10;

/// The codec ``passthrough``: the bytes as they are, with their length and CRC32C.
#[pyclass(module = "shardpack", extends = Codec, frozen)]
pub struct Passthrough;

#[pymethods]
#[expect(
    clippy::unused_self,
    reason = "Python calls these on instances, of which all are equal"
)]
impl Passthrough {
    #[new]
    fn new() -> PyClassInitializer<Self> {
        Codec::under(codec::Passthrough, Self)
    }

    fn __repr__(&self) -> &'static str {
        "Passthrough()"
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok()
    }

    fn __hash__(&self) -> u64 {
        hash_of("passthrough")
    }

    fn __getnewargs__<'py>(&self, py: Python<'py>) -> Bound<'py, PyTuple> {
        PyTuple::empty(py)
    }
}

/// The hash of a codec's parameters.
pub fn hash_of(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The codec that the S4 gateway picks for data that begin with ``sample``.
///
/// Args:
///     sample: The first bytes of the data; more than 4,096 are not looked at.
///     total_size: Length of the data in bytes; only matters where there is a GPU.
///
/// Returns:
///     ``"passthrough"`` for data that will not shrink, else ``"cpu-zstd"``.
#[pyfunction]
#[pyo3(signature = (sample, total_size=None))]
pub fn pick_codec(sample: Input, total_size: Option<u64>) -> &'static str {
    // The gateway sends large objects to its GPU; there is none to be picked here.
    let _ = total_size;
    codec::sample::pick_codec(sample.bytes()).name()
}
