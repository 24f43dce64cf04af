//! Whole S4 objects: encode, decode, read a range, verify.

use std::sync::Arc;

use pyo3::{
    exceptions::PyOverflowError,
    prelude::*,
    types::{PyBytes, PyDict, PyMapping},
};

use super::{
    buffer::Input,
    codec::Codec as PyCodec,
    frame::needs_dictionary,
    output::{self, NewBytes},
    run::{Work, run},
};
use crate::{
    checksum,
    codec::{
        self, Codec, CodecKind, CpuGzip, CpuZstd, MAX_ORIGINAL_SIZE, Passthrough, dict, gzip, zstd,
    },
    error::Error,
    frame::{
        self,
        index::Index,
        object::{self, Layout, Metadata, Opened, SidecarState},
        read::Decoding,
    },
    memory,
    pool::Cancel,
};

/// Encode an object as ``s4-codec`` does: the same bytes, the same metadata.
///
/// Args:
///     data: Any C-contiguous buffer.
///     codec: ``"cpu-zstd"`` or ``"passthrough"``; ``encode_object`` knows more.
///     level: zstd level, clamped to 1..22.
///
/// Returns:
///     A dict with ``body`` (bytes), ``sidecar`` (bytes, or None for at most one frame; bind it with
///     ``bind_index`` once the body is stored) and ``metadata`` (str to str, without the
///     ``x-amz-meta-`` prefix).
///
/// Raises:
///     NotImplementedError: Another codec.
#[pyfunction]
#[pyo3(signature = (data, codec="cpu-zstd", level=3))]
pub fn encode_s4_object<'py>(
    py: Python<'py>,
    data: Input,
    codec: &str,
    level: i32,
) -> PyResult<Bound<'py, PyDict>> {
    let codec: Arc<dyn Codec> = match codec {
        "cpu-zstd" => Arc::new(CpuZstd::new(level, false)),
        "passthrough" => Arc::new(Passthrough),
        _ => {
            return Err(Error::UnwritableCodec {
                codec: codec.into(),
            }
            .into());
        }
    };
    encode(py, codec, data, None, None)
}

/// Encode an object with any codec that a client may write, chunks in parallel.
///
/// zstd becomes frames with a sidecar; gzip one unframed member; passthrough the bytes themselves; a
/// dictionary is only used where it makes the object smaller.
///
/// Args:
///     data: Any C-contiguous buffer.
///     codec: ``"auto"`` (looks at the first 4 KiB: zstd, or passthrough for what will not shrink),
///         ``"cpu-zstd"``, ``"cpu-gzip"``, ``"passthrough"``, or a codec object such as
///         ``CpuZstdDict(...)``.
///     level: Level of a codec given by name; by default 3 for zstd, 6 for gzip. Means nothing to
///         passthrough, as in ``encode_s4_object``.
///     chunk_size: Original bytes per frame; by default see ``pick_chunk_size``.
///     threads: Threads to use; by default see ``thread_count``. The bytes do not depend on it.
///
/// Returns:
///     As ``encode_s4_object``.
///
/// Raises:
///     NotImplementedError: A codec that clients cannot write.
///     OverflowError: A negative level for gzip.
///     S4Error: ``level`` beside a codec object, or ``chunk_size`` 0.
#[pyfunction]
#[pyo3(
    signature = (data, codec=None, level=None, chunk_size=None, *, threads=None),
    text_signature = "(data, codec='auto', level=None, chunk_size=None, *, threads=None)"
)]
pub fn encode_object<'py>(
    py: Python<'py>,
    data: Input,
    codec: Option<&Bound<'py, PyAny>>,
    level: Option<i32>,
    chunk_size: Option<usize>,
    threads: Option<usize>,
) -> PyResult<Bound<'py, PyDict>> {
    let codec = pick(codec, level, data.bytes())?;
    encode(py, codec, data, chunk_size, threads)
}

fn pick(
    codec: Option<&Bound<'_, PyAny>>,
    level: Option<i32>,
    data: &[u8],
) -> PyResult<Arc<dyn Codec>> {
    if let Some(codec) = codec.and_then(|codec| codec.cast::<PyCodec>().ok()) {
        if let Some(level) = level {
            let text =
                format!("level {level} is given beside a codec object, which has one of its own");
            return Err(Error::Argument(text).into());
        }
        return Ok(Arc::clone(&codec.get().inner));
    }
    let name = codec.map_or(Ok("auto".to_owned()), PyAnyMethods::extract)?;
    let kind = match name.as_str() {
        "auto" => codec::sample::pick_codec(data),
        name => CodecKind::from_name(name)
            .ok_or_else(|| Error::UnwritableCodec { codec: name.into() })?,
    };
    match kind {
        CodecKind::Passthrough => Ok(Arc::new(Passthrough)),
        CodecKind::CpuZstd => {
            let level = level.unwrap_or(zstd::DEFAULT_LEVEL);
            Ok(Arc::new(CpuZstd::new(level, false)))
        }
        CodecKind::CpuGzip => {
            let level = level
                .map(u32::try_from)
                .transpose()
                .map_err(|_| PyOverflowError::new_err("gzip levels are not negative"))?;
            Ok(Arc::new(CpuGzip::new(level.unwrap_or(gzip::DEFAULT_LEVEL))))
        }
        _ => Err(Error::UnwritableCodec { codec: name }.into()),
    }
}

fn encode(
    py: Python<'_>,
    codec: Arc<dyn Codec>,
    data: Input,
    chunk_size: Option<usize>,
    threads: Option<usize>,
) -> PyResult<Bound<'_, PyDict>> {
    let len = data.bytes().len();
    let whole = codec.with_dictionary().is_some() && len <= object::DICT_OBJECT_LEN;
    let default = if whole {
        len.max(1)
    } else {
        frame::pick_chunk_size(len as u64) as usize
    };
    let (body, sidecar, metadata) = run(py, Work::compress(len).on(threads), move |cancel| {
        let object = object::encode(&*codec, data.bytes(), chunk_size.unwrap_or(default), cancel)?;
        let frames: Vec<&[u8]> = object.body.frames.iter().map(Vec::as_slice).collect();
        Ok((
            output::join(&frames)?,
            object.index.map(|index| index.encode()),
            object.metadata,
        ))
    })?;
    let result = PyDict::new(py);
    result.set_item("body", body)?;
    result.set_item("sidecar", sidecar.map(|sidecar| PyBytes::new(py, &sidecar)))?;
    let pairs = PyDict::new(py);
    for (key, value) in metadata {
        pairs.set_item(key, value)?;
    }
    result.set_item("metadata", pairs)?;
    Ok(result)
}

/// Decode a whole object.
///
/// The metadata decide how it is read, its first bytes only where they leave it open: data that look
/// like frames but were stored as they are come back as they are. Every recorded size and CRC32C is
/// checked.
///
/// Args:
///     body: What is stored under the key.
///     metadata: The object's S3 user metadata, without the ``x-amz-meta-`` prefix.
///     sidecar: The sidecar, if there is one; only tells whether the body is encrypted.
///     dicts: Dictionaries by id, for objects with ``s4-dict-id``.
///     max_original_size: Most bytes that may come out, default 5 GiB.
///     threads: Threads to use; by default see ``thread_count``.
///
/// Returns:
///     The original bytes.
///
/// Raises:
///     S4FrameError: The body should be frames and is not.
///     S4Error: Sizes, checksums or metadata do not fit (see the subclasses).
///     S4IoError: A payload is damaged.
///     DictionaryError: The dictionary is missing or is another one.
///     EncryptedObjectError: The body is in an encryption envelope.
///     UnsupportedCodecError: A codec that cannot be read here.
#[pyfunction]
#[pyo3(signature = (body, metadata=None, sidecar=None, dicts=None, *, max_original_size=MAX_ORIGINAL_SIZE, threads=None))]
pub fn decode_object(
    py: Python<'_>,
    body: Input,
    metadata: Option<&Bound<'_, PyMapping>>,
    sidecar: Option<Input>,
    dicts: Option<&Bound<'_, PyAny>>,
    max_original_size: u64,
    threads: Option<usize>,
) -> PyResult<Py<PyBytes>> {
    let reading = Reading::new(metadata, sidecar.as_ref(), dicts, max_original_size)?;
    let (dictionary, len) = reading.open(py, body.bytes())?;
    let mut output = NewBytes::new(py, len)?;
    run(
        py,
        Work::decode(len.max(body.bytes().len())).on(threads),
        move |cancel| {
            let opened = Opened::new(&reading.metadata, body.bytes(), reading.sidecar.as_ref())?;
            let decoding = reading.decoding(dictionary.as_ref(), cancel);
            opened.decode_into(&reading.metadata, output.bytes_mut(), decoding)?;
            output.finish()
        },
    )
}

/// Decode a range of an object; frames outside of it are neither decoded nor touched.
///
/// Args:
///     body: What is stored under the key. A ``memoryview(mmap)`` reads only the pages it needs.
///     start: First byte of the original that is wanted.
///     end: One past the last; cut to the length of the original.
///     metadata: As in ``decode_object``.
///     sidecar: Tells where the frames lie if it is bound to a body of this length; otherwise their
///         headers tell.
///     dicts: As in ``decode_object``.
///     max_original_size: Most bytes that the covering frames may decode to, default 5 GiB.
///     threads: Threads to use; by default see ``thread_count``.
///
/// Returns:
///     The bytes ``start:end`` of the original.
///
/// Raises:
///     As ``decode_object``, and S4IndexError if the sidecar promises other frames than there are.
#[pyfunction]
#[pyo3(signature = (body, start, end, metadata=None, sidecar=None, dicts=None, *, max_original_size=MAX_ORIGINAL_SIZE, threads=None))]
#[expect(clippy::too_many_arguments, reason = "keywords in Python")]
pub fn decode_range(
    py: Python<'_>,
    body: Input,
    start: u64,
    end: u64,
    metadata: Option<&Bound<'_, PyMapping>>,
    sidecar: Option<Input>,
    dicts: Option<&Bound<'_, PyAny>>,
    max_original_size: u64,
    threads: Option<usize>,
) -> PyResult<Py<PyBytes>> {
    let reading = Reading::new(metadata, sidecar.as_ref(), dicts, max_original_size)?;
    let dictionary = reading
        .dictionaries
        .pick(reading.metadata.dict_id()?, true)?;
    // Of frames only some are decoded, of a payload without frames all.
    let whole = match object::layout(&reading.metadata, body.bytes(), reading.sidecar.as_ref())? {
        Layout::Payload(_, claim) => claim.original_size,
        Layout::Frames | Layout::Plain => end.saturating_sub(start).min(body.bytes().len() as u64),
    };
    let work = Work::decode(whole.min(max_original_size) as usize).on(threads);
    run(py, work, move |cancel| {
        let decoding = reading.decoding(dictionary.as_ref(), cancel);
        let sidecar = reading.sidecar.as_ref();
        let slice = object::decode_range(
            &reading.metadata,
            body.bytes(),
            sidecar,
            (start, end),
            decoding,
        )?;
        output::join(&[slice.bytes()])
    })
}

/// Verify an object: decode all of it and compare everything that is recorded about it.
///
/// Args:
///     body: What is stored under the key.
///     metadata: As in ``decode_object``.
///     sidecar: Its entries are compared with the frames of the body.
///     dicts: As in ``decode_object``.
///     etag: The body's ``ETag``, to tell whether the sidecar is out of date.
///     max_original_size: Most bytes that may come out, default 5 GiB.
///     threads: Threads to use; by default see ``thread_count``.
///
/// Returns:
///     A dict: ``layout`` (``"frames"``, ``"payload"`` or ``"plain"``), ``codec``, ``frames`` (how
///     many), ``original_size``, ``stored_size``, ``crc32c`` of the original, ``checked`` (False if
///     nothing was recorded that could be checked) and ``sidecar`` (``"absent"``, ``"unbound"``,
///     ``"trusted"`` or ``"stale"``).
///
/// Raises:
///     As ``decode_object``, and S4IndexError if the sidecar does not agree with the body.
#[pyfunction]
#[pyo3(signature = (body, metadata=None, sidecar=None, dicts=None, *, etag=None, max_original_size=MAX_ORIGINAL_SIZE, threads=None))]
#[expect(clippy::too_many_arguments, reason = "keywords in Python")]
pub fn verify_object<'py>(
    py: Python<'py>,
    body: Input,
    metadata: Option<&Bound<'py, PyMapping>>,
    sidecar: Option<Input>,
    dicts: Option<&Bound<'py, PyAny>>,
    etag: Option<String>,
    max_original_size: u64,
    threads: Option<usize>,
) -> PyResult<Bound<'py, PyDict>> {
    let reading = Reading::new(metadata, sidecar.as_ref(), dicts, max_original_size)?;
    let (dictionary, len) = reading.open(py, body.bytes())?;
    let report = run(
        py,
        Work::decode(len.max(body.bytes().len())).on(threads),
        move |cancel| {
            let body = body.bytes();
            let sidecar = reading.sidecar.as_ref();
            let opened = Opened::new(&reading.metadata, body, sidecar)?;
            let mut decoded = memory::zeroed(len);
            let decoding = reading.decoding(dictionary.as_ref(), cancel);
            opened.decode_into(&reading.metadata, &mut decoded, decoding)?;
            let state = SidecarState::of(sidecar, body.len() as u64, etag.as_deref());
            if let (Some(index), SidecarState::Trusted | SidecarState::Unbound) = (sidecar, state) {
                object::check_sidecar(index, body)?;
            }
            let (layout, codec, frames) = match &opened {
                Opened::Frames(frames) => (
                    "frames",
                    frames.first().map(|frame| frame.header.codec),
                    frames.len(),
                ),
                Opened::Payload(kind, ..) => ("payload", Some(*kind), 0),
                Opened::Plain(_) => ("plain", None, 0),
            };
            let codec = codec
                .map(CodecKind::name)
                .or_else(|| reading.metadata.codec_name());
            let checked = layout != "plain" || reading.metadata.has_crc32c();
            let crc = checksum::crc32c_parallel(&decoded, 0);
            Ok((
                layout,
                codec.map(str::to_owned),
                frames,
                body.len(),
                crc,
                checked,
                state,
            ))
        },
    )?;
    let (layout, codec, frames, stored_size, crc32c, checked, state) = report;
    let dict = PyDict::new(py);
    dict.set_item("layout", layout)?;
    dict.set_item("codec", codec)?;
    dict.set_item("frames", frames)?;
    dict.set_item("original_size", len)?;
    dict.set_item("stored_size", stored_size)?;
    dict.set_item("crc32c", crc32c)?;
    dict.set_item("checked", checked)?;
    let state = match state {
        SidecarState::Absent => "absent",
        SidecarState::Unbound => "unbound",
        SidecarState::Trusted => "trusted",
        SidecarState::Stale => "stale",
    };
    dict.set_item("sidecar", state)?;
    Ok(dict)
}

/// What a reader of objects is told beside the body.
struct Reading {
    metadata: Metadata,
    sidecar: Option<Index>,
    dictionaries: Dictionaries,
    limit: u64,
}

impl Reading {
    fn new(
        metadata: Option<&Bound<'_, PyMapping>>,
        sidecar: Option<&Input>,
        dicts: Option<&Bound<'_, PyAny>>,
        limit: u64,
    ) -> PyResult<Self> {
        let pairs: Vec<(String, String)> = match metadata {
            Some(metadata) => metadata.items()?.extract()?,
            None => Vec::new(),
        };
        let metadata = Metadata::new(
            pairs
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str())),
        );
        let sidecar = sidecar
            .map(|sidecar| Index::decode(sidecar.bytes()))
            .transpose()
            .map_err(Error::from)?;
        Ok(Self {
            metadata,
            sidecar,
            dictionaries: Dictionaries::new(dicts)?,
            limit,
        })
    }

    /// The dictionary that the object needs and the length of the buffer to decode it into.
    fn open(&self, py: Python<'_>, body: &[u8]) -> PyResult<(Option<CpuZstd>, usize)> {
        let opened = Opened::new(&self.metadata, body, self.sidecar.as_ref())?;
        let needed = match &opened {
            Opened::Frames(frames) => needs_dictionary(frames),
            Opened::Payload(kind, ..) => *kind == CodecKind::CpuZstdDict,
            Opened::Plain(_) => false,
        };
        let dictionary = self.dictionaries.pick(self.metadata.dict_id()?, needed)?;
        let cancel = Cancel::new();
        let len = py.detach(|| opened.output_len(self.decoding(dictionary.as_ref(), &cancel)))?;
        Ok((dictionary, len))
    }

    fn decoding<'a>(&'a self, dictionary: Option<&'a CpuZstd>, cancel: &'a Cancel) -> Decoding<'a> {
        let dict_id = self.metadata.dict_id().ok().flatten();
        Decoding {
            dictionary,
            dict_id,
            limit: self.limit,
            cancel,
        }
    }
}

/// The dictionaries that a caller has at hand, by id.
pub struct Dictionaries(Vec<(String, Input)>);

impl Dictionaries {
    pub fn new(dicts: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        match dicts {
            Some(dicts) => Ok(Self(dicts.cast::<PyMapping>()?.items()?.extract()?)),
            None => Ok(Self(Vec::new())),
        }
    }

    /// The dictionary with this id, checked against it; without an id the only one there is.
    ///
    /// `None` if none is needed, or none is there: the frame that needs it will say so.
    pub fn pick(&self, id: Option<&str>, needed: bool) -> PyResult<Option<CpuZstd>> {
        if !needed {
            return Ok(None);
        }
        let found = match (id, self.0.as_slice()) {
            (Some(id), all) => all.iter().find(|(name, _)| name == id),
            (None, [only]) => Some(only),
            (None, _) => None,
        };
        let Some((id, bytes)) = found else {
            return Ok(None);
        };
        if dict::dict_id(bytes.bytes()) != *id {
            let problem =
                "has another fingerprint than its id says: it is not the dictionary that is needed";
            return Err(Error::Dictionary {
                id: id.clone(),
                problem,
            }
            .into());
        }
        Ok(Some(CpuZstd::new_with_dictionary(
            bytes.bytes(),
            zstd::DEFAULT_LEVEL,
            false,
        )?))
    }
}
