//! The codecs: bytes to payload and back, over slices the caller owns.
//!
//! | file | payload |
//! |---|---|
//! | `zstd.rs`, `zstd_frame.rs` | libzstd 1.5.7, with and without a dictionary |
//! | `gzip.rs`, `gzip_member.rs` | RFC 1952 through libdeflate and zlib-rs |
//! | `gzip_points.rs`, `inflate.rs` | places in a gzip file from which decoding can begin |
//! | `passthrough.rs` | the bytes themselves |
//! | `plain.rs` | whole streams, their pieces in parallel |
//! | `record.rs` | many small payloads at a time |
//! | `stream.rs` | payloads of unknown length, piece by piece |
//! | `sample.rs` | is it worth compressing? |
//!
//! A payload travels with a *claim*, the length and CRC32C of what it decodes to. Claims are
//! checked in one place, [`decompress_claimed`], in the order that S4 readers agree on.

pub mod dict;
pub mod gzip;
pub mod gzip_member;
pub mod gzip_points;
pub mod inflate;
pub mod passthrough;
pub mod plain;
pub mod record;
pub mod sample;
pub mod stream;
pub mod zstd;
pub mod zstd_frame;

use std::{cell::RefCell, fmt::Debug};

use crate::{
    checksum,
    error::{Error, Result},
    memory,
    pool::Cancel,
};

pub use gzip::CpuGzip;
pub use passthrough::Passthrough;
pub use zstd::CpuZstd;

/// The largest original size a payload may claim unless the caller says otherwise: 5 GiB, inclusive.
pub const MAX_ORIGINAL_SIZE: u64 = 5 << 30;

/// Scratch memory above this is given back after the call instead of being kept for the next.
const SCRATCH_KEPT: usize = 32 << 20;

/// The codecs that an S4F2 frame can name. Ids and names are frozen parts of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum CodecKind {
    /// The original bytes.
    Passthrough = 0,
    /// A zstd frame.
    CpuZstd = 1,
    /// An FCG1 container of zstd frames, written on a GPU.
    NvcompZstd = 2,
    /// An FCG1 container of Bitcomp chunks, written on a GPU.
    NvcompBitcomp = 3,
    /// Reserved; never written.
    NvcompGans = 4,
    /// Reserved; never written.
    DietgpuAns = 5,
    /// An FCG1 container of `GDeflate` streams, written on a GPU.
    NvcompGdeflate = 6,
    /// A gzip member.
    CpuGzip = 7,
    /// A zstd frame made with a dictionary.
    CpuZstdDict = 8,
}

impl CodecKind {
    /// All codecs, at the index that is their id.
    pub const ALL: [Self; 9] = [
        Self::Passthrough,
        Self::CpuZstd,
        Self::NvcompZstd,
        Self::NvcompBitcomp,
        Self::NvcompGans,
        Self::DietgpuAns,
        Self::NvcompGdeflate,
        Self::CpuGzip,
        Self::CpuZstdDict,
    ];

    /// The id in a frame header.
    #[must_use]
    pub const fn id(self) -> u32 {
        self as u32
    }

    /// The codec with this id.
    #[must_use]
    pub fn from_id(id: u32) -> Option<Self> {
        Self::ALL.get(id as usize).copied()
    }

    /// The name in object metadata.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passthrough => "passthrough",
            Self::CpuZstd => "cpu-zstd",
            Self::NvcompZstd => "nvcomp-zstd",
            Self::NvcompBitcomp => "nvcomp-bitcomp",
            Self::NvcompGans => "nvcomp-gans",
            Self::DietgpuAns => "dietgpu-ans",
            Self::NvcompGdeflate => "nvcomp-gdeflate",
            Self::CpuGzip => "cpu-gzip",
            Self::CpuZstdDict => "cpu-zstd-dict",
        }
    }

    /// The codec with this name; names are exact and case-sensitive.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// What every codec can do. Implementations are cheap to share and hold no per-call state: contexts
/// live in thread-locals.
pub trait Codec: Send + Sync + Debug {
    /// Which codec this is.
    fn kind(&self) -> CodecKind;

    /// An upper bound for the payload of `len` bytes.
    fn compress_bound(&self, len: usize) -> usize;

    /// Compresses `src` to the front of `dst` and returns the payload's length.
    ///
    /// # Errors
    /// [`Error::DestinationTooSmall`] if it does not fit; it always fits in [`Codec::compress_bound`].
    fn compress_into(&self, src: &[u8], dst: &mut [u8], cancel: &Cancel) -> Result<usize>;

    /// An upper bound for what `payload` decodes to, from its structure alone, so that memory is
    /// only reserved for what the payload can really hold.
    fn decompress_bound(&self, payload: &[u8]) -> Result<u64>;

    /// Decodes `payload` to the front of `dst` and returns the length.
    ///
    /// # Errors
    /// [`Error::Bomb`] if there is more than fits, [`Error::Decode`] for damaged input.
    fn decompress_into(&self, payload: &[u8], dst: &mut [u8], cancel: &Cancel) -> Result<usize>;

    /// Decodes all of `stored` into `dst`; false if it does not decode to exactly that many bytes.
    fn decompress_exact(&self, stored: &[u8], dst: &mut [u8], cancel: &Cancel) -> Result<bool> {
        match self.decompress_into(stored, dst, cancel) {
            Err(Error::Bomb { .. }) => Ok(false),
            result => Ok(result? == dst.len()),
        }
    }

    /// The length that a record states to decode to, if it states one that it can hold and that is
    /// worth reserving memory for.
    fn stated_len(&self, record: &[u8]) -> Option<usize>;

    /// Splits a plain stream (every zstd frame, every gzip member) into pieces that decode by
    /// themselves, with lengths where the stream states them. One piece if nothing is stated.
    fn pieces<'a>(&self, stream: &'a [u8]) -> Result<Vec<Piece<'a>>>;

    /// Decodes all of a plain stream onto the end of `out`, at most `limit` bytes.
    fn decompress_all(
        &self,
        stream: &[u8],
        out: &mut Vec<u8>,
        limit: u64,
        cancel: &Cancel,
    ) -> Result<()>;

    /// This codec as one with a dictionary, if it has one.
    fn with_dictionary(&self) -> Option<(&CpuZstd, &dict::Dictionary)> {
        None
    }

    /// A compressor for input that comes piece by piece.
    fn compressor(&self) -> Result<Box<dyn stream::Compress>>;

    /// A decompressor for input that comes piece by piece.
    fn decompressor(&self) -> Result<Box<dyn stream::Decompress>>;
}

/// A part of a plain stream that decodes by itself.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'a> {
    /// The stored bytes.
    pub stored: &'a [u8],
    /// The length it states to decode to. A statement, not a fact.
    pub original_len: Option<u64>,
    /// The statement may be about less than the whole piece.
    pub guessed: bool,
}

/// What a payload is said to decode to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Length in bytes.
    pub original_size: u64,
    /// CRC32C of those bytes.
    pub crc32c: u32,
}

/// Length of the buffer to hand to [`decompress_claimed`].
///
/// # Errors
/// [`Error::ClaimExceedsLimit`] before anything is looked at; [`Error::Decode`] if the structure of
/// the payload is broken.
pub fn output_len(codec: &dyn Codec, payload: &[u8], claim: Claim, limit: u64) -> Result<usize> {
    check_limit(claim.original_size, limit)?;
    Ok(claim.original_size.min(codec.decompress_bound(payload)?) as usize)
}

/// Decodes `payload` into `dst`, which has the length that [`output_len`] gave, and checks it: more
/// output than claimed is a bomb, less a size mismatch, then the CRC32C.
pub fn decompress_claimed(
    codec: &dyn Codec,
    payload: &[u8],
    claim: Claim,
    dst: &mut [u8],
    cancel: &Cancel,
) -> Result<()> {
    let len = codec.decompress_into(payload, dst, cancel)?;
    if len != dst.len() {
        let (expected, actual) = (claim.original_size, len as u64);
        return Err(Error::SizeMismatch { expected, actual });
    }
    check_claim(claim, dst)
}

/// Compares decoded bytes with what was claimed of them.
pub fn check_claim(claim: Claim, decoded: &[u8]) -> Result<()> {
    if decoded.len() as u64 != claim.original_size {
        return Err(Error::SizeMismatch {
            expected: claim.original_size,
            actual: decoded.len() as u64,
        });
    }
    let actual = checksum::crc32c_parallel(decoded, 0);
    if actual != claim.crc32c {
        return Err(Error::CrcMismatch {
            expected: claim.crc32c,
            actual,
        });
    }
    Ok(())
}

/// Refuses a size above the limit.
pub fn check_limit(requested: u64, limit: u64) -> Result<()> {
    if requested > limit {
        Err(Error::ClaimExceedsLimit { requested, limit })
    } else {
        Ok(())
    }
}

/// Compresses `src` in memory that is reused from call to call and hands the payload to `take`.
pub fn compress_with<T>(
    codec: &dyn Codec,
    src: &[u8],
    cancel: &Cancel,
    take: impl FnOnce(&[u8]) -> T,
) -> Result<T> {
    with_scratch(codec.compress_bound(src.len()), |scratch| {
        let len = codec.compress_into(src, scratch, cancel)?;
        Ok((take(&scratch[..len]), len))
    })
}

/// Lends `len` bytes of this thread's scratch memory. `work` returns how much of it was written, so
/// that memory which really became resident is not hoarded.
pub(crate) fn with_scratch<T>(
    len: usize,
    work: impl FnOnce(&mut [u8]) -> Result<(T, usize)>,
) -> Result<T> {
    thread_local! {
        static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    // Taken out, not borrowed, so that nested use gets memory of its own.
    let mut scratch = SCRATCH.take();
    if scratch.len() < len {
        // Fresh zeroed pages come from the kernel untouched; growing the old vector would copy it.
        scratch = memory::zeroed(len);
    }
    let result = work(&mut scratch[..len]);
    if result
        .as_ref()
        .is_ok_and(|(_, written)| *written <= SCRATCH_KEPT)
    {
        SCRATCH.set(scratch);
    }
    result.map(|(value, _)| value)
}
