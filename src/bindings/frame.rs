//! Frames: read, write, decode, pad.

use std::sync::Arc;

use pyo3::{
    prelude::*,
    types::{PyBytes, PyDict, PyList},
};

use super::{
    buffer::Input,
    codec::Codec,
    object::Dictionaries,
    output::{self, NewBytes},
    run::{Work, run},
};
use crate::{
    codec::{CodecKind, MAX_ORIGINAL_SIZE},
    error::Error,
    frame::{
        self, FrameHeader,
        read::{self, Frame, Frames},
        write,
    },
};

/// A payload from this length on is copied without the GIL.
const COPY_DETACHED: usize = 1 << 20;

/// Read one frame off the front of a buffer.
///
/// Args:
///     data: Bytes that begin with an ``S4F2`` frame.
///
/// Returns:
///     ``(header, payload, rest)``: a dict with ``codec``, ``original_size``, ``compressed_size`` and
///     ``crc32c``, the payload as stored, and the bytes behind it.
///
/// Raises:
///     S4FrameError: ``data`` do not begin with a whole frame.
#[pyfunction]
pub fn read_frame(
    py: Python<'_>,
    data: Input,
) -> PyResult<(Bound<'_, PyDict>, Bound<'_, PyBytes>, Bound<'_, PyBytes>)> {
    let (frame, rest) = read::read_frame(data.bytes()).map_err(Error::from)?;
    Ok((
        header_dict(py, &frame.header)?,
        copy(py, frame.payload)?,
        copy(py, rest)?,
    ))
}

/// Read all frames of a body, padding stepped over.
///
/// Args:
///     data: The body of an S4 object.
///
/// Returns:
///     A list of ``(header, payload)``, as from ``read_frame``; empty for an empty body.
///
/// Raises:
///     S4FrameError: The body is not frames and padding to its very end.
#[pyfunction]
pub fn frame_iter(py: Python<'_>, data: Input) -> PyResult<Bound<'_, PyList>> {
    let list = PyList::empty(py);
    for frame in Frames::new(data.bytes()) {
        let frame = frame.map_err(Error::from)?;
        list.append((header_dict(py, &frame.header)?, copy(py, frame.payload)?))?;
    }
    Ok(list)
}

/// Read the header of a frame whose payload need not be at hand.
///
/// Args:
///     data: At least the 28 bytes of the header.
///
/// Returns:
///     The header as a dict, as from ``read_frame``.
///
/// Raises:
///     S4FrameError: ``data`` do not begin with a frame header.
#[pyfunction]
pub fn parse_frame_header(py: Python<'_>, data: Input) -> PyResult<Bound<'_, PyDict>> {
    let header = FrameHeader::parse(data.bytes()).map_err(Error::from)?;
    header_dict(py, &header)
}

/// Write one frame over all of ``data``, as S4 stores a multipart part (before ``pad_part``).
///
/// Args:
///     codec: What makes the payload.
///     data: Any C-contiguous buffer.
///
/// Returns:
///     Header and payload.
#[pyfunction]
pub fn write_frame(py: Python<'_>, codec: &Bound<'_, Codec>, data: Input) -> PyResult<Py<PyBytes>> {
    let codec = Arc::clone(&codec.get().inner);
    run(py, Work::compress(data.bytes().len()), move |cancel| {
        output::join(&[&write::write_frame(&*codec, data.bytes(), cancel)?])
    })
}

/// Cut data into frames and compress them, in parallel.
///
/// Args:
///     codec: What makes the payloads.
///     data: Any C-contiguous buffer.
///     chunk_size: Original bytes per frame; the last frame may have less.
///     threads: Threads to use; by default see ``thread_count``. The bytes do not depend on it.
///
/// Returns:
///     ``(body, frames, crc32c)``: the joined frames, ``(original_size, stored_size)`` of each, and
///     the CRC32C of all of ``data``.
///
/// Raises:
///     S4Error: ``chunk_size`` is 0.
#[pyfunction]
#[pyo3(signature = (codec, data, chunk_size, *, threads=None))]
#[expect(clippy::type_complexity, reason = "what Python unpacks")]
pub fn encode_frames(
    py: Python<'_>,
    codec: &Bound<'_, Codec>,
    data: Input,
    chunk_size: usize,
    threads: Option<usize>,
) -> PyResult<(Py<PyBytes>, Vec<(usize, usize)>, u32)> {
    let codec = Arc::clone(&codec.get().inner);
    run(
        py,
        Work::compress(data.bytes().len()).on(threads),
        move |cancel| {
            let body = write::encode_frames(&*codec, data.bytes(), chunk_size, cancel)?;
            let frames: Vec<&[u8]> = body.frames.iter().map(Vec::as_slice).collect();
            let sizes = body
                .original_lens
                .iter()
                .copied()
                .zip(body.frames.iter().map(Vec::len))
                .collect();
            Ok((output::join(&frames)?, sizes, body.crc32c))
        },
    )
}

/// Decode all frames of a body, in parallel, straight into the result.
///
/// Args:
///     data: Frames and padding: a whole body, or the stored bytes of a range of frames.
///     dicts: Dictionaries by id, for ``cpu-zstd-dict`` frames.
///     dict_id: Which of them the frames use; may be left out if there is but one.
///     max_original_size: Most bytes that may come out, default 5 GiB.
///     threads: Threads to use; by default see ``thread_count``.
///
/// Returns:
///     The original bytes.
///
/// Raises:
///     S4FrameError: The bytes are not frames and padding to their very end.
///     S4Error: A frame does not decode to what its header says (see the subclasses).
///     S4IoError: A payload is damaged.
///     UnsupportedCodecError: A codec that cannot be read here.
#[pyfunction]
#[pyo3(signature = (data, *, dicts=None, dict_id=None, max_original_size=MAX_ORIGINAL_SIZE, threads=None))]
pub fn decode_frames(
    py: Python<'_>,
    data: Input,
    dicts: Option<&Bound<'_, PyAny>>,
    dict_id: Option<String>,
    max_original_size: u64,
    threads: Option<usize>,
) -> PyResult<Py<PyBytes>> {
    let dictionaries = Dictionaries::new(dicts)?;
    let frames = read::read_frames(data.bytes()).map_err(Error::from)?;
    let dictionary = dictionaries.pick(dict_id.as_deref(), needs_dictionary(&frames))?;
    let never = crate::pool::Cancel::new();
    let decoding = |cancel| read::Decoding {
        dictionary: dictionary.as_ref(),
        dict_id: dict_id.as_deref(),
        limit: max_original_size,
        cancel,
    };
    let len = py.detach(|| read::output_len(&frames, decoding(&never)))?;
    drop(frames);
    let mut output = NewBytes::new(py, len)?;
    run(
        py,
        Work::decode(len.max(data.bytes().len())).on(threads),
        move |cancel| {
            let frames = read::read_frames(data.bytes())?;
            let decoding = read::Decoding {
                dictionary: dictionary.as_ref(),
                dict_id: dict_id.as_deref(),
                limit: max_original_size,
                cancel,
            };
            read::decode_frames(&frames, output.bytes_mut(), decoding)?;
            output.finish()
        },
    )
}

/// Pad a framed multipart part as the S4 gateway does.
///
/// Args:
///     framed: The part as one frame.
///     original_size: Length in bytes of the part before it was framed.
///     uniform: Pad to a size that depends on ``original_size`` alone, for servers that want parts
///         of one size.
///
/// Returns:
///     The part and its padding; parts of less than 5 MiB of original data come back unpadded.
///
/// Raises:
///     S4Error: ``original_size`` is above 5 GiB, the limit of S3 for a part.
#[pyfunction]
#[pyo3(signature = (framed, original_size, *, uniform=false))]
pub fn pad_part(
    py: Python<'_>,
    framed: Input,
    original_size: usize,
    uniform: bool,
) -> PyResult<Py<PyBytes>> {
    run(py, Work::decode(write::MIN_PART_LEN), move |_| {
        let mut part = framed.bytes().to_vec();
        write::pad_part(&mut part, original_size, uniform)?;
        output::join(&[&part])
    })
}

/// The chunk size that the S4 gateway picks for an object.
///
/// Args:
///     content_length: Length of the object in bytes.
///
/// Returns:
///     1 MiB up to 1 MiB, 4 MiB up to 100 MiB, else 16 MiB.
#[pyfunction]
pub fn pick_chunk_size(content_length: u64) -> u64 {
    frame::pick_chunk_size(content_length)
}

/// Does one of these frames need a dictionary?
pub fn needs_dictionary(frames: &[Frame<'_>]) -> bool {
    frames
        .iter()
        .any(|frame| frame.header.codec == CodecKind::CpuZstdDict)
}

fn header_dict<'py>(py: Python<'py>, header: &FrameHeader) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("codec", header.codec.name())?;
    dict.set_item("original_size", header.original_size)?;
    dict.set_item("compressed_size", header.payload_size)?;
    dict.set_item("crc32c", header.crc32c)?;
    Ok(dict)
}

fn copy<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    if bytes.len() < COPY_DETACHED {
        return Ok(PyBytes::new(py, bytes));
    }
    let mut output = NewBytes::new(py, bytes.len())?;
    py.detach(|| output.bytes_mut().copy_from_slice(bytes));
    Ok(output.finish()?.into_bound(py))
}
