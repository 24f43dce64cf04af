//! Sidecars: decode, encode, build, bind, plan a range.

use pyo3::{
    prelude::*,
    types::{PyBytes, PyDict, PyList, PyMapping},
};

use super::{
    buffer::Input,
    run::{Work, run},
};
use crate::{
    error::Error,
    frame::{
        index::{Encryption, Entry, Index},
        range,
    },
};

/// Decode a sidecar (``S4IX``).
///
/// Args:
///     data: The bytes of ``<key>.s4index``.
///
/// Returns:
///     A dict with ``total_padded_size``, ``total_original_size``, ``source_etag``,
///     ``source_compressed_size`` (None if not bound), ``entries`` (a list of dicts with
///     ``original_offset``, ``original_size``, ``compressed_offset``, ``compressed_size``) and
///     ``sse`` (None unless the body is encrypted).
///
/// Raises:
///     S4IndexError: The bytes are no sidecar.
#[pyfunction]
pub fn decode_index(py: Python<'_>, data: Input) -> PyResult<Bound<'_, PyDict>> {
    let index = decode(&data)?;
    let dict = PyDict::new(py);
    dict.set_item("total_padded_size", index.total_stored)?;
    dict.set_item("total_original_size", index.total_original())?;
    dict.set_item("source_etag", &index.etag)?;
    dict.set_item("source_compressed_size", index.source_size)?;
    let entries = PyList::empty(py);
    for entry in &index.entries {
        let row = PyDict::new(py);
        row.set_item("original_offset", entry.original_offset)?;
        row.set_item("original_size", entry.original_size)?;
        row.set_item("compressed_offset", entry.stored_offset)?;
        row.set_item("compressed_size", entry.stored_size)?;
        entries.append(row)?;
    }
    dict.set_item("entries", entries)?;
    dict.set_item(
        "sse",
        index
            .encryption
            .map(|encryption| encryption_dict(py, &encryption))
            .transpose()?,
    )?;
    Ok(dict)
}

fn encryption_dict<'py>(py: Python<'py>, encryption: &Encryption) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("enc_chunk_size", encryption.chunk_size)?;
    dict.set_item("enc_chunk_count", encryption.chunk_count)?;
    dict.set_item("enc_key_id", encryption.key_id)?;
    dict.set_item("enc_salt", PyBytes::new(py, &encryption.salt))?;
    dict.set_item("enc_plaintext_len", encryption.plaintext_len)?;
    dict.set_item("enc_header_bytes", encryption.header_len)?;
    Ok(dict)
}

/// Encode a sidecar: the inverse of ``decode_index``.
///
/// Args:
///     index: A mapping as from ``decode_index``; ``total_original_size`` is taken from the entries.
///
/// Returns:
///     Version 3 if ``sse`` is set, else version 2.
///
/// Raises:
///     S4IndexError: The entries overlap or run backwards, or the ``ETag`` is too long: no reader
///         would take it.
///     KeyError: A key is missing.
#[pyfunction]
pub fn encode_index<'py>(
    py: Python<'py>,
    index: &Bound<'py, PyMapping>,
) -> PyResult<Bound<'py, PyBytes>> {
    let mut parsed = Index {
        total_stored: index.get_item("total_padded_size")?.extract()?,
        etag: index.get_item("source_etag")?.extract()?,
        source_size: index.get_item("source_compressed_size")?.extract()?,
        ..Index::default()
    };
    for row in index.get_item("entries")?.try_iter()? {
        let row = row?;
        parsed.entries.push(Entry {
            original_offset: row.get_item("original_offset")?.extract()?,
            original_size: row.get_item("original_size")?.extract()?,
            stored_offset: row.get_item("compressed_offset")?.extract()?,
            stored_size: row.get_item("compressed_size")?.extract()?,
        });
    }
    let sse = index.get_item("sse")?;
    if !sse.is_none() {
        parsed.encryption = Some(Encryption {
            chunk_size: sse.get_item("enc_chunk_size")?.extract()?,
            chunk_count: sse.get_item("enc_chunk_count")?.extract()?,
            key_id: sse.get_item("enc_key_id")?.extract()?,
            salt: sse.get_item("enc_salt")?.extract()?,
            plaintext_len: sse.get_item("enc_plaintext_len")?.extract()?,
            header_len: sse.get_item("enc_header_bytes")?.extract()?,
        });
    }
    let bytes = parsed.encode();
    Index::decode(&bytes).map_err(Error::from)?;
    Ok(PyBytes::new(py, &bytes))
}

/// Build the sidecar of a body from its frame headers.
///
/// Args:
///     body: Frames and padding.
///
/// Returns:
///     A sidecar that is not bound yet: see ``bind_index``.
///
/// Raises:
///     S4FrameError: The body is not frames and padding to its very end.
#[pyfunction]
pub fn build_index(py: Python<'_>, body: Input) -> PyResult<Bound<'_, PyBytes>> {
    let index = run(py, Work::decode(body.bytes().len() / 64), move |_| {
        Index::build(body.bytes())
    })?;
    Ok(PyBytes::new(py, &index.encode()))
}

/// Bind a sidecar to the body it belongs to, so that readers can tell when it is out of date.
///
/// Args:
///     sidecar: A sidecar, bound or not.
///     source_compressed_size: Length of the body in bytes; 0 for unknown.
///     source_etag: The body's ``ETag`` without quotes; None or empty for unknown. Readers refuse
///         more than 4,096 bytes.
///
/// Returns:
///     The sidecar with both replaced.
///
/// Raises:
///     S4IndexError: ``sidecar`` is none.
#[pyfunction]
#[pyo3(signature = (sidecar, source_compressed_size, source_etag=None))]
pub fn bind_index(
    py: Python<'_>,
    sidecar: Input,
    source_compressed_size: u64,
    source_etag: Option<String>,
) -> PyResult<Bound<'_, PyBytes>> {
    let mut index = decode(&sidecar)?;
    index.bind(source_compressed_size, source_etag.as_deref());
    Ok(PyBytes::new(py, &index.encode()))
}

/// May a sidecar be used for a body with this length and ``ETag``?
///
/// Args:
///     sidecar: The sidecar.
///     size: Length of the body in bytes, if known.
///     etag: ``ETag`` of the body, with or without quotes, if known.
///
/// Returns:
///     False if the sidecar is bound to nothing, or if anything that both sides know differs.
///
/// Raises:
///     S4IndexError: ``sidecar`` is none.
#[pyfunction]
#[pyo3(signature = (sidecar, size=None, etag=None))]
pub fn index_is_trusted(sidecar: Input, size: Option<u64>, etag: Option<String>) -> PyResult<bool> {
    Ok(decode(&sidecar)?.is_trusted(size, etag.as_deref()))
}

/// Plan the read of a range: which stored bytes hold it.
///
/// Args:
///     index: The sidecar of the body.
///     start: First byte of the original that is wanted.
///     end: One past the last; cut to the length of the original.
///
/// Returns:
///     None if the range is empty or lies in a gap, else a dict: fetch ``byte_start:byte_end`` of the
///     body, decode it with ``decode_frames``, take ``slice_start:slice_end`` of that.
///     ``first_frame`` and ``last_frame`` (inclusive) number the entries.
///
/// Raises:
///     S4IndexError: ``index`` is no sidecar.
///     EncryptedObjectError: The body is encrypted.
#[pyfunction]
pub fn plan_range(
    py: Python<'_>,
    index: Input,
    start: u64,
    end: u64,
) -> PyResult<Option<Bound<'_, PyDict>>> {
    let index = decode(&index)?;
    if index.encryption.is_some() {
        return Err(Error::Encrypted {
            evidence: "its sidecar has an encryption block",
        }
        .into());
    }
    let Some(plan) = range::plan_range(&index, start, end) else {
        return Ok(None);
    };
    let dict = PyDict::new(py);
    dict.set_item("first_frame", plan.first_frame)?;
    dict.set_item("last_frame", plan.last_frame)?;
    dict.set_item("byte_start", plan.byte_start)?;
    dict.set_item("byte_end", plan.byte_end)?;
    dict.set_item("slice_start", plan.slice_start)?;
    dict.set_item("slice_end", plan.slice_end)?;
    Ok(Some(dict))
}

fn decode(sidecar: &Input) -> PyResult<Index> {
    Ok(Index::decode(sidecar.bytes()).map_err(Error::from)?)
}
