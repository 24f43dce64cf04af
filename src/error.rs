//! The one error type of the crate.
//!
//! Variants carry facts (what was expected, what was found); the text is made in one place, from
//! them. `bindings/error.rs` maps every variant to a Python class in one exhaustive match.

#[cfg(not(target_pointer_width = "64"))]
compile_error!("shardpack handles objects above 4 GiB in memory and needs a 64-bit target");

use crate::codec::CodecKind;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whatever can go wrong in the core.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A decoder refused its input: damaged, cut short, or another format.
    #[error("io: {codec} decoder: {detail}")]
    Decode {
        /// The codec whose decoder it was.
        codec: &'static str,
        /// What the decoder said.
        detail: String,
    },
    /// More output than the claim allows.
    #[error("io: {codec} decompression bomb (output exceeds the claimed {claimed} bytes)")]
    Bomb {
        /// The codec whose decoder it was.
        codec: &'static str,
        /// The claimed original size.
        claimed: u64,
    },
    /// Less output than claimed.
    #[error("size mismatch: expected {expected}, got {actual}")]
    SizeMismatch {
        /// The recorded length in bytes.
        expected: u64,
        /// The length that was found.
        actual: u64,
    },
    /// The bytes have another checksum than recorded.
    #[error("crc32c mismatch: expected {expected:#010x}, got {actual:#010x}")]
    CrcMismatch {
        /// The recorded CRC32C.
        expected: u32,
        /// The CRC32C of the bytes.
        actual: u32,
    },
    /// A claimed size above the limit; nothing was decoded.
    #[error("manifest claims {requested} bytes but limit is {limit}")]
    ClaimExceedsLimit {
        /// The claimed original size.
        requested: u64,
        /// The limit in force.
        limit: u64,
    },
    /// Bytes that are no S4F2 frame or S4P1 padding.
    #[error("frame error: {0}")]
    Frame(#[from] FrameError),
    /// Bytes that are no S4IX sidecar.
    #[error("index error: {0}")]
    Index(#[from] IndexError),
    /// A codec cannot be set up.
    #[error("backend: {0}")]
    Backend(String),
    /// A GPU payload that breaks the rules of its container or stream.
    #[error("backend: fcg1: {0}")]
    Fcg1(String),
    /// A codec that this library cannot read.
    #[error("{} payloads cannot be read here: {}", codec.name(), unsupported_advice(*codec))]
    UnsupportedCodec {
        /// The codec of the frame or object.
        codec: CodecKind,
    },
    /// A codec that this library cannot write.
    #[error(
        "{codec:?} is no codec that this call writes; encode_object takes auto, cpu-zstd, cpu-gzip, passthrough or a codec object such as CpuZstdDict, GPU codecs are written by the S4 gateway"
    )]
    UnwritableCodec {
        /// The name as it was given.
        codec: String,
    },
    /// The object is in an encryption envelope.
    #[error(
        "the object is encrypted ({evidence}); only the S4 gateway that holds its key can read it: fetch it through the gateway"
    )]
    Encrypted {
        /// What gave it away.
        evidence: &'static str,
    },
    /// A dictionary is needed and not at hand, or is another one.
    #[error("dictionary {id}: {problem}")]
    Dictionary {
        /// The id as the metadata has it; `?` if they have none.
        id: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// Object metadata that cannot be used.
    #[error("metadata {key}: {problem}")]
    Metadata {
        /// The metadata key.
        key: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Object metadata that contradict the body.
    #[error("metadata {key} says {expected} bytes, the object has {actual}")]
    ManifestSizeMismatch {
        /// The metadata key.
        key: &'static str,
        /// What it says.
        expected: u64,
        /// What is there.
        actual: u64,
    },
    /// The caller's buffer is too small.
    #[error("destination of {capacity} bytes is too small, {needed} are needed")]
    DestinationTooSmall {
        /// Bytes that would fit.
        capacity: u64,
        /// Bytes that are needed; for compression an upper bound.
        needed: u64,
    },
    /// An argument outside its range.
    #[error("{0}")]
    Argument(String),
    /// Leaves, namespaces, shards or counts that make no tree and no code.
    #[error("{0}")]
    InvalidInput(String),
    /// What was asked for cannot be computed from what is there.
    #[error("{0}")]
    ComputationFailed(String),
    /// Bytes that are no proof.
    #[error("proof: {0}")]
    ProofFormat(&'static str),
    /// Something that this machine does not have.
    #[error("{0}")]
    Unavailable(String),
    /// The caller asked to stop (Ctrl-C).
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// A decoder's complaint, with its words.
    #[must_use]
    pub fn decode(codec: &'static str, detail: impl Into<String>) -> Self {
        Self::Decode {
            codec,
            detail: detail.into(),
        }
    }
}

/// Why bytes are no frame. The order of the checks is part of the format's contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Fewer bytes than a header.
    #[error("frame too short: need at least {need} bytes, have {have}")]
    TooShort {
        /// Bytes that a header takes.
        need: usize,
        /// Bytes that are left.
        have: usize,
    },
    /// The first four bytes are not `S4F2`.
    #[error("bad frame magic: expected S4F2, got \"{}\"", .0.escape_ascii())]
    BadMagic([u8; 4]),
    /// The codec id is not in the table.
    #[error("unknown codec id {0}")]
    UnknownCodec(u32),
    /// The payload is longer than what is left.
    #[error("payload truncated: header says {claimed} bytes, {have} are left")]
    PayloadTruncated {
        /// The payload size of the header.
        claimed: u64,
        /// Bytes that are left.
        have: u64,
    },
    /// Padding is longer than what is left.
    #[error("padding truncated: header says {claimed} bytes, {have} are left")]
    PaddingTruncated {
        /// The length field of the padding.
        claimed: u64,
        /// Bytes that are left.
        have: u64,
    },
}

/// Why bytes are no sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// A part of the sidecar is cut short.
    #[error("{part} too short: need {need} bytes, have {have}")]
    TooShort {
        /// The part.
        part: &'static str,
        /// Bytes that it takes.
        need: u64,
        /// Bytes that are left.
        have: u64,
    },
    /// The first four bytes are not `S4IX`.
    #[error("bad index magic: expected S4IX, got \"{}\"", .0.escape_ascii())]
    BadMagic([u8; 4]),
    /// More entries than a sidecar may have.
    #[error("{count} entries exceed the limit of {limit}")]
    TooManyEntries {
        /// Claimed count.
        count: u64,
        /// Most that are accepted.
        limit: u64,
    },
    /// A version other than 1, 2, 3.
    #[error("unknown index version {0}")]
    UnknownVersion(u32),
    /// The `ETag` is longer than readers accept.
    #[error("etag of {0} bytes is too long, 4096 are allowed")]
    EtagTooLong(u64),
    /// The entry table does not fill the rest exactly.
    #[error("entry table of {have} bytes, {need} are needed")]
    TableLength {
        /// Bytes that the count asks for.
        need: u64,
        /// Bytes that are there.
        have: u64,
    },
    /// Offset plus size does not fit in 64 bits.
    #[error("entry {0} ends beyond 2^64")]
    Overflow(u64),
    /// An entry starts before the one before it ends.
    #[error("entry {0} overlaps the one before it")]
    OutOfOrder(u64),
    /// The body has another frame, or none, where an entry says.
    #[error("entry {0} does not agree with the frame in the body")]
    FrameMismatch(u64),
}

/// What a user can do about a codec that cannot be read.
fn unsupported_advice(codec: CodecKind) -> &'static str {
    match codec {
        CodecKind::NvcompBitcomp => {
            "bitcomp is NVIDIA's closed format; read the object through an S4 gateway with a GPU"
        }
        CodecKind::NvcompGans | CodecKind::DietgpuAns => {
            "the id is reserved and nothing was ever written with it; the object is damaged or from another program"
        }
        _ => "read the object through the S4 gateway",
    }
}
