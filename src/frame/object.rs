//! Whole S4 objects: a body, its metadata, its sidecar.
//!
//! How a body is read is decided by its metadata first. Its first bytes decide only where the
//! metadata leave it open: an object that a user stored may itself begin like a frame and must come
//! back as it is.

use super::{
    FRAME_MAGIC, PADDING_MAGIC,
    index::{Entry, Index},
    range::{self, Slice},
    read::{self, Decoding, Frame},
    write::{self, Body},
};
use crate::{
    checksum,
    codec::{Claim, Codec, CodecKind, check_limit, compress_with, dict},
    error::{Error, IndexError, Result},
    memory,
    pool::Cancel,
};

/// Metadata keys, without the `x-amz-meta-` that S3 puts before them.
pub mod key {
    /// Name of the codec.
    pub const CODEC: &str = "s4-codec";
    /// Length of the original, decimal.
    pub const ORIGINAL_SIZE: &str = "s4-original-size";
    /// Length of the body before encryption, decimal.
    pub const COMPRESSED_SIZE: &str = "s4-compressed-size";
    /// CRC32C of the original, decimal.
    pub const CRC32C: &str = "s4-crc32c";
    /// `true` if the body is frames.
    pub const FRAMED: &str = "s4-framed";
    /// `true` if the body is the framed parts of a multipart upload.
    pub const MULTIPART: &str = "s4-multipart";
    /// Id of the dictionary.
    pub const DICT_ID: &str = "s4-dict-id";
    /// Set if the body is in an encryption envelope.
    pub const ENCRYPTED: &str = "s4-encrypted";
}

/// Objects up to this length become one frame where a dictionary is used, as in the gateway.
pub const DICT_OBJECT_LEN: usize = 1 << 20;

const ENVELOPE_PREFIX: &[u8] = b"S4E";

/// A written object.
#[derive(Debug)]
pub struct Encoded {
    /// The body: frames, or the one payload.
    pub body: Body,
    /// The sidecar, not yet bound, if the body has more than one frame.
    pub index: Option<Index>,
    /// Metadata in the order in which S4 gives them.
    pub metadata: Vec<(&'static str, String)>,
}

/// Encodes `data` as the gateway stores a single PUT: zstd as frames, gzip as one unframed member,
/// passthrough as it is.
///
/// Up to [`DICT_OBJECT_LEN`] a dictionary is only used if that makes the object strictly smaller than
/// plain zstd; beyond it, where the gateway uses none, it is used as asked.
pub fn encode(
    codec: &dyn Codec,
    data: &[u8],
    chunk_len: usize,
    cancel: &Cancel,
) -> Result<Encoded> {
    let Some((codec, dictionary)) = codec.with_dictionary() else {
        return encode_plainly(codec, data, chunk_len, cancel);
    };
    let mut with = encode_framed(codec, data, chunk_len, cancel)?;
    if data.len() <= DICT_OBJECT_LEN {
        let plain = codec.without_dictionary();
        let without = encode_framed(&plain, data, chunk_len, cancel)?;
        if without.body.stored_len() <= with.body.stored_len() {
            return Ok(without);
        }
    }
    // S4's order: the id stands before `s4-framed`.
    with.metadata.insert(
        with.metadata.len() - 1,
        (key::DICT_ID, dictionary.id().into()),
    );
    Ok(with)
}

fn encode_plainly(
    codec: &dyn Codec,
    data: &[u8],
    chunk_len: usize,
    cancel: &Cancel,
) -> Result<Encoded> {
    let payload = match codec.kind() {
        CodecKind::Passthrough => data.to_vec(),
        CodecKind::CpuGzip => compress_with(codec, data, cancel, <[u8]>::to_vec)?,
        _ => return encode_framed(codec, data, chunk_len, cancel),
    };
    let crc32c = checksum::crc32c_parallel(data, 0);
    let body = Body {
        frames: vec![payload],
        original_lens: vec![data.len()],
        crc32c,
    };
    Ok(Encoded {
        metadata: manifest(codec.kind(), data, &body),
        index: None,
        body,
    })
}

fn encode_framed(
    codec: &dyn Codec,
    data: &[u8],
    chunk_len: usize,
    cancel: &Cancel,
) -> Result<Encoded> {
    let body = write::encode_frames(codec, data, chunk_len, cancel)?;
    let mut metadata = manifest(codec.kind(), data, &body);
    metadata.push((key::FRAMED, "true".into()));
    let index = (body.frames.len() > 1).then(|| index_of(&body));
    Ok(Encoded {
        body,
        index,
        metadata,
    })
}

fn manifest(kind: CodecKind, data: &[u8], body: &Body) -> Vec<(&'static str, String)> {
    vec![
        (key::CODEC, kind.name().into()),
        (key::ORIGINAL_SIZE, data.len().to_string()),
        (key::COMPRESSED_SIZE, body.stored_len().to_string()),
        (key::CRC32C, body.crc32c.to_string()),
    ]
}

fn index_of(body: &Body) -> Index {
    let mut index = Index {
        total_stored: body.stored_len() as u64,
        ..Index::default()
    };
    let (mut original_offset, mut stored_offset) = (0, 0);
    for (frame, &original_len) in body.frames.iter().zip(&body.original_lens) {
        let (original_size, stored_size) = (original_len as u64, frame.len() as u64);
        index.entries.push(Entry {
            original_offset,
            original_size,
            stored_offset,
            stored_size,
        });
        original_offset += original_size;
        stored_offset += stored_size;
    }
    index
}

/// The metadata of an object, as far as reading it needs them. Keys in any letter case; keys that
/// are not known are ignored.
#[derive(Debug, Clone, Default)]
pub struct Metadata {
    codec: Option<String>,
    original_size: Option<String>,
    compressed_size: Option<String>,
    crc32c: Option<String>,
    framed: bool,
    dict_id: Option<String>,
    encrypted: bool,
}

impl Metadata {
    /// Takes the metadata that matter out of `pairs`.
    pub fn new<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut metadata = Self::default();
        for (name, value) in pairs {
            match name.to_ascii_lowercase().as_str() {
                key::CODEC => metadata.codec = Some(value.into()),
                key::ORIGINAL_SIZE => metadata.original_size = Some(value.into()),
                key::COMPRESSED_SIZE => metadata.compressed_size = Some(value.into()),
                key::CRC32C => metadata.crc32c = Some(value.into()),
                key::FRAMED | key::MULTIPART => metadata.framed |= value == "true",
                key::DICT_ID => metadata.dict_id = Some(value.into()),
                // Any value counts: to serve ciphertext as plain bytes would be worse.
                key::ENCRYPTED => metadata.encrypted |= !value.is_empty(),
                _ => {}
            }
        }
        metadata
    }

    /// The id of the dictionary, if it is shaped like one.
    pub fn dict_id(&self) -> Result<Option<&str>> {
        match self.dict_id.as_deref() {
            Some(id) if !dict::is_dict_id(id) => Err(Error::Metadata {
                key: key::DICT_ID,
                problem: format!("{} is not 16 lower-case hexadecimal digits", quote(id)),
            }),
            id => Ok(id),
        }
    }

    /// The name of the codec, as it is.
    #[must_use]
    pub fn codec_name(&self) -> Option<&str> {
        self.codec.as_deref()
    }

    /// Do the metadata say that S4 stored the body? Without that, other keys mean nothing.
    fn describe_body(&self) -> bool {
        self.framed || self.codec.is_some()
    }

    /// The CRC32C of the original, if it is recorded and can be understood.
    fn recorded_crc32c(&self) -> Option<u32> {
        self.crc32c()
            .ok()
            .flatten()
            .filter(|_| self.describe_body())
    }

    /// Do the metadata record a CRC32C?
    #[must_use]
    pub fn has_crc32c(&self) -> bool {
        self.recorded_crc32c().is_some()
    }

    fn number(key: &'static str, value: Option<&str>) -> Result<Option<u64>> {
        let parse = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits
                .then(|| text.parse().ok())
                .flatten()
                .ok_or_else(|| Error::Metadata {
                    key,
                    problem: format!("{} is not a decimal number", quote(text)),
                })
        };
        value.map(parse).transpose()
    }

    fn original_size(&self) -> Result<Option<u64>> {
        Self::number(key::ORIGINAL_SIZE, self.original_size.as_deref())
    }

    fn compressed_size(&self) -> Result<Option<u64>> {
        Self::number(key::COMPRESSED_SIZE, self.compressed_size.as_deref())
    }

    fn crc32c(&self) -> Result<Option<u32>> {
        let Some(number) = Self::number(key::CRC32C, self.crc32c.as_deref())? else {
            return Ok(None);
        };
        u32::try_from(number)
            .map(Some)
            .map_err(|_| Error::Metadata {
                key: key::CRC32C,
                problem: format!("{number} does not fit in 32 bits"),
            })
    }
}

/// A value as part of a message of one short line.
fn quote(value: &str) -> String {
    const SHOWN: usize = 40;
    match value.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{:?}...", &value[..at]),
        None => format!("{value:?}"),
    }
}

/// How a body is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Frames and padding.
    Frames,
    /// One payload without a header.
    Payload(CodecKind, Claim),
    /// The user's bytes.
    Plain,
}

/// Decides how an object is to be read.
///
/// # Errors
/// [`Error::Encrypted`] for an object in an envelope; [`Error::Metadata`] or
/// [`Error::ManifestSizeMismatch`] if the metadata cannot be right.
pub fn layout(metadata: &Metadata, body: &[u8], index: Option<&Index>) -> Result<Layout> {
    if let Some(evidence) = encryption_evidence(metadata, body, index) {
        return Err(Error::Encrypted { evidence });
    }
    check_stored_len(metadata, body)?;
    let framed_head = body.starts_with(&FRAME_MAGIC) || body.starts_with(&PADDING_MAGIC);
    match metadata.codec.as_deref() {
        _ if metadata.framed => Ok(Layout::Frames),
        Some("passthrough") => Ok(Layout::Plain),
        // No zstd, gzip or FCG1 payload starts so: the metadata were lost or are incomplete.
        _ if framed_head => Ok(Layout::Frames),
        None => Ok(Layout::Plain),
        Some(name) => {
            let kind = CodecKind::from_name(name).ok_or_else(|| Error::Metadata {
                key: key::CODEC,
                problem: format!("{} is no codec of this format", quote(name)),
            })?;
            // Without frames only the metadata say what the payload is: all of it or nothing.
            let stated = |key, number: Option<u64>| {
                let problem = "is missing and the body has no frames".into();
                number.ok_or(Error::Metadata { key, problem })
            };
            stated(key::COMPRESSED_SIZE, metadata.compressed_size()?)?;
            let original_size = stated(key::ORIGINAL_SIZE, metadata.original_size()?)?;
            let crc32c = stated(key::CRC32C, metadata.crc32c()?.map(u64::from))? as u32;
            Ok(Layout::Payload(
                kind,
                Claim {
                    original_size,
                    crc32c,
                },
            ))
        }
    }
}

/// Compares the stored length with the metadata, as far as they can be understood.
fn check_stored_len(metadata: &Metadata, body: &[u8]) -> Result<()> {
    match metadata.compressed_size() {
        Ok(Some(expected)) if metadata.describe_body() && expected != body.len() as u64 => {
            let actual = body.len() as u64;
            Err(Error::ManifestSizeMismatch {
                key: key::COMPRESSED_SIZE,
                expected,
                actual,
            })
        }
        _ => Ok(()),
    }
}

fn encryption_evidence(
    metadata: &Metadata,
    body: &[u8],
    index: Option<&Index>,
) -> Option<&'static str> {
    let envelope = body.starts_with(ENVELOPE_PREFIX) && matches!(body.get(3), Some(b'1'..=b'6'));
    if metadata.encrypted {
        Some("its metadata have s4-encrypted")
    } else if index.is_some_and(|index| index.encryption.is_some()) {
        Some("its sidecar has an encryption block")
    } else if metadata.codec.is_none() && envelope {
        Some("it starts with an S4E envelope")
    } else {
        None
    }
}

/// An object whose layout is known, ready to be decoded.
#[derive(Debug)]
pub enum Opened<'a> {
    /// Frames, and the index that says where each lies.
    Frames(Vec<Frame<'a>>),
    /// One payload.
    Payload(CodecKind, Claim, &'a [u8]),
    /// The user's bytes.
    Plain(&'a [u8]),
}

impl<'a> Opened<'a> {
    /// Applies the reading rule and checks the sizes that the metadata state.
    pub fn new(metadata: &Metadata, body: &'a [u8], index: Option<&Index>) -> Result<Self> {
        let opened = match layout(metadata, body, index)? {
            Layout::Frames => Self::Frames(read::read_frames(body)?),
            Layout::Payload(kind, claim) => Self::Payload(kind, claim, body),
            Layout::Plain => Self::Plain(body),
        };
        let stated = match (&opened, metadata.original_size()) {
            _ if !metadata.describe_body() => None,
            // Passthrough bodies are their own statement.
            (Self::Plain(_), stated) => stated.ok().flatten(),
            (_, stated) => stated?,
        };
        match (stated, opened.stated_original()) {
            (Some(expected), Some(actual)) if expected != actual => {
                let key = key::ORIGINAL_SIZE;
                return Err(Error::ManifestSizeMismatch {
                    key,
                    expected,
                    actual,
                });
            }
            _ => {}
        }
        Ok(opened)
    }

    /// The original length as the body states it; `None` if the sum does not fit in 64 bits.
    fn stated_original(&self) -> Option<u64> {
        match self {
            Self::Frames(frames) => frames.iter().try_fold(0u64, |sum, frame| {
                sum.checked_add(frame.header.original_size)
            }),
            Self::Payload(_, claim, _) => Some(claim.original_size),
            Self::Plain(body) => Some(body.len() as u64),
        }
    }

    /// Length of the buffer that [`Opened::decode_into`] needs.
    pub fn output_len(&self, decoding: Decoding<'_>) -> Result<usize> {
        match self {
            Self::Frames(frames) => read::output_len(frames, decoding),
            Self::Payload(kind, claim, body) => {
                read::payload_output_len(*kind, body, *claim, decoding)
            }
            Self::Plain(body) => {
                check_limit(body.len() as u64, decoding.limit)?;
                Ok(body.len())
            }
        }
    }

    /// Decodes all of it, checking every size and checksum that is recorded.
    pub fn decode_into(
        &self,
        metadata: &Metadata,
        dst: &mut [u8],
        decoding: Decoding<'_>,
    ) -> Result<()> {
        match self {
            Self::Frames(frames) => {
                read::decode_frames(frames, dst, decoding)?;
                check_crc32c(metadata, || read::combined_crc32c(frames))
            }
            Self::Payload(kind, claim, body) => {
                read::decode_payload(*kind, body, *claim, dst, decoding)
            }
            Self::Plain(body) => {
                check_crc32c(metadata, || checksum::crc32c_parallel(body, 0))?;
                read::copy_whole(body, dst)
            }
        }
    }
}

fn check_crc32c(metadata: &Metadata, actual: impl FnOnce() -> u32) -> Result<()> {
    let Some(expected) = metadata.recorded_crc32c() else {
        return Ok(());
    };
    let actual = actual();
    if actual == expected {
        Ok(())
    } else {
        Err(Error::CrcMismatch { expected, actual })
    }
}

/// Decodes the half-open range `start..end` of the original, cut to its length.
///
/// Frames outside the range are not decoded. The sidecar is used if it is bound to this body;
/// otherwise the frame headers of the body tell where the frames lie.
pub fn decode_range(
    metadata: &Metadata,
    body: &[u8],
    sidecar: Option<&Index>,
    (start, end): (u64, u64),
    decoding: Decoding<'_>,
) -> Result<Slice> {
    let cut = |decoded: Vec<u8>| {
        let end = (end.min(decoded.len() as u64)) as usize;
        let start = (start.min(end as u64)) as usize;
        Slice {
            decoded,
            slice: start..end,
        }
    };
    match layout(metadata, body, sidecar)? {
        Layout::Frames => {
            let trusted = sidecar.filter(|index| index.is_trusted(Some(body.len() as u64), None));
            // Where the sidecar has no answer the body is asked: a sidecar must not be able to
            // shorten an object in silence.
            let built;
            let planned = trusted
                .filter(|index| end <= index.total_original())
                .and_then(|index| Some((index, range::plan_range(index, start, end)?)));
            let (index, plan) = if let Some(planned) = planned {
                planned
            } else {
                built = Index::build(body)?;
                match range::plan_range(&built, start, end) {
                    Some(plan) => (&built, plan),
                    None => return Ok(cut(Vec::new())),
                }
            };
            let mismatch = Error::Index(IndexError::FrameMismatch(plan.last_frame as u64));
            let window = body
                .get(plan.byte_start as usize..plan.byte_end as usize)
                .ok_or(mismatch)?;
            range::decode_planned(index, &plan, window, decoding)
        }
        Layout::Plain => {
            let end = end.min(body.len() as u64);
            check_limit(end.saturating_sub(start), decoding.limit)?;
            let end = end as usize;
            let decoded = body[(start.min(end as u64)) as usize..end].to_vec();
            Ok(Slice {
                slice: 0..decoded.len(),
                decoded,
            })
        }
        Layout::Payload(kind, claim) => {
            let mut decoded =
                memory::zeroed(read::payload_output_len(kind, body, claim, decoding)?);
            read::decode_payload(kind, body, claim, &mut decoded, decoding)?;
            Ok(cut(decoded))
        }
    }
}

/// What is known of a sidecar beside a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SidecarState {
    /// There is none.
    Absent,
    /// Bound to nothing, so not trusted.
    Unbound,
    /// Bound to this body.
    Trusted,
    /// Bound to another body.
    Stale,
}

impl SidecarState {
    /// Compares a sidecar's binding with a body of this length and `ETag`.
    #[must_use]
    pub fn of(index: Option<&Index>, size: u64, etag: Option<&str>) -> Self {
        match index {
            None => Self::Absent,
            Some(index) if index.is_trusted(Some(size), etag) => Self::Trusted,
            Some(index) if index.etag.is_none() && index.source_size.is_none() => Self::Unbound,
            Some(_) => Self::Stale,
        }
    }
}

/// Checks that a sidecar says of the body what its frames say.
///
/// # Errors
/// [`IndexError::FrameMismatch`] with the number of the first entry that does not.
pub fn check_sidecar(index: &Index, body: &[u8]) -> Result<()> {
    let built = Index::build(body)?;
    if built.entries == index.entries {
        return Ok(());
    }
    let common = built
        .entries
        .iter()
        .zip(&index.entries)
        .take_while(|(built, stated)| built == stated)
        .count();
    Err(Error::Index(IndexError::FrameMismatch(common as u64)))
}
