//! gzip (RFC 1952): libdeflate for what lies in memory, zlib-rs for streams.
//!
//! libdeflate compresses better and 2 to 3 times as fast as zlib-rs, but wants the whole input and
//! cannot be interrupted; whoever waits for it must be able to walk away (`bindings/run.rs` does).

use std::cell::RefCell;

use libdeflater::{CompressionLvl, Compressor};
use rayon::prelude::*;

use super::{
    Codec, CodecKind, Piece, gzip_member,
    stream::{self, GzipCompressor, GzipDecompressor},
};
use crate::{
    error::{Error, Result},
    pool::Cancel,
};

/// The highest level of S4; higher ones are clamped.
pub const MAX_LEVEL: u32 = 9;
/// The level unless the caller says otherwise.
pub const DEFAULT_LEVEL: u32 = 6;
/// Original bytes per member of [`CpuGzip::compress_members`] unless the caller says otherwise.
pub const DEFAULT_MEMBER_LEN: usize = 1 << 20;
/// Most original bytes per member: its stored length must fit its field.
pub const MAX_MEMBER_LEN: usize = 1 << 30;

/// A member that is stated to be longer is decoded piece by piece, so that it can be cancelled and a
/// wrong statement costs no more memory than this.
const WHOLE_MEMBER: usize = 64 << 20;
/// Deflate cannot expand by more than this.
const MAX_RATIO: u64 = 1032;
/// The shortest deflate stream of no bytes.
const EMPTY: [u8; 2] = [3, 0];
const NAME: &str = "cpu-gzip";

/// The codec `cpu-gzip`.
#[derive(Debug, Clone, Copy)]
pub struct CpuGzip {
    level: u32,
}

impl CpuGzip {
    /// gzip at `level`, clamped to at most 9.
    #[must_use]
    pub fn new(level: u32) -> Self {
        Self::with_level(level.min(MAX_LEVEL))
    }

    /// gzip at a level that is known to be in range.
    pub(crate) const fn with_level(level: u32) -> Self {
        Self { level }
    }

    /// The level in force.
    #[must_use]
    pub const fn level(self) -> u32 {
        self.level
    }

    /// Compresses `src` as independent members of `member_len` original bytes each, in parallel on
    /// the pool this runs in. Any gzip reader takes the members, joined, as one file; readers that
    /// know the length field decode them in parallel.
    pub fn compress_members(
        self,
        src: &[u8],
        member_len: usize,
        cancel: &Cancel,
    ) -> Result<Vec<Vec<u8>>> {
        if !(1..=MAX_MEMBER_LEN).contains(&member_len) {
            return Err(Error::Argument(format!(
                "a member size of {member_len} bytes is not in 1..={MAX_MEMBER_LEN}"
            )));
        }
        let member = |chunk: &[u8]| {
            cancel.check()?;
            let mut out = vec![0; self.compress_bound(chunk.len()) + gzip_member::SIZED_HEADER_LEN];
            let len = self.write_member(chunk, &mut out, gzip_member::SIZED_HEADER_LEN)?;
            out.truncate(len);
            out[..gzip_member::SIZED_HEADER_LEN]
                .copy_from_slice(&gzip_member::sized_header(self.level, len as u32));
            Ok(out)
        };
        if src.is_empty() {
            return Ok(vec![member(src)?]);
        }
        if crate::pool::workers() < 2 {
            return src.chunks(member_len).map(member).collect();
        }
        src.par_chunks(member_len).map(member).collect()
    }

    /// Writes the deflate stream after `header_len` bytes that are left free, then the trailer.
    fn write_member(self, src: &[u8], dst: &mut [u8], header_len: usize) -> Result<usize> {
        let capacity = dst.len() as u64;
        let too_small = || Error::DestinationTooSmall {
            capacity,
            needed: self.compress_bound(src.len()) as u64,
        };
        let room = dst.get_mut(header_len..).ok_or_else(too_small)?;
        let len = if src.is_empty() && self.level > 0 {
            // libdeflate writes five bytes for nothing where everybody else writes two.
            room.get_mut(..EMPTY.len())
                .ok_or_else(too_small)?
                .copy_from_slice(&EMPTY);
            EMPTY.len()
        } else {
            with_compressor(self.level, |compressor| {
                compressor.deflate_compress(src, room)
            })?
            .map_err(|_| too_small())?
        };
        let trailer = gzip_member::trailer(libdeflater::crc32(src), src.len() as u32);
        dst.get_mut(header_len + len..)
            .and_then(|rest| rest.first_chunk_mut())
            .map(|place| *place = trailer)
            .ok_or_else(too_small)?;
        Ok(header_len + len + gzip_member::TRAILER_LEN)
    }
}

impl Codec for CpuGzip {
    fn kind(&self) -> CodecKind {
        CodecKind::CpuGzip
    }

    fn compress_bound(&self, len: usize) -> usize {
        // Stored blocks: 5 bytes for each, and libdeflate makes none shorter than 5,000 bytes.
        len + 5 * (len / 5000 + 1) + 16 + gzip_member::HEADER_LEN + gzip_member::TRAILER_LEN
    }

    fn compress_into(&self, src: &[u8], dst: &mut [u8], cancel: &Cancel) -> Result<usize> {
        cancel.check()?;
        let len = self.write_member(src, dst, gzip_member::HEADER_LEN)?;
        dst[..gzip_member::HEADER_LEN].copy_from_slice(&gzip_member::header(self.level));
        Ok(len)
    }

    fn decompress_bound(&self, payload: &[u8]) -> Result<u64> {
        Ok((payload.len() as u64).saturating_mul(MAX_RATIO))
    }

    /// Reads the first member and nothing behind it, as S4 does.
    fn decompress_into(&self, payload: &[u8], dst: &mut [u8], cancel: &Cancel) -> Result<usize> {
        cancel.check()?;
        match read_member(payload, dst) {
            Member::Complete { written, .. } => Ok(written),
            Member::NoRoom => Err(Error::Bomb {
                codec: NAME,
                claimed: dst.len() as u64,
            }),
            Member::Damaged => Err(damaged(payload)),
        }
    }

    fn decompress_exact(&self, stored: &[u8], dst: &mut [u8], cancel: &Cancel) -> Result<bool> {
        cancel.check()?;
        let expected = (stored.len(), dst.len());
        Ok(
            matches!(read_member(stored, dst), Member::Complete { read, written } if (read, written) == expected),
        )
    }

    fn stated_len(&self, record: &[u8]) -> Option<usize> {
        let len = gzip_member::stated_len(record)? as usize;
        let bound = self.decompress_bound(record).ok()?;
        (len <= WHOLE_MEMBER && len as u64 <= bound).then_some(len)
    }

    fn pieces<'a>(&self, stream: &'a [u8]) -> Result<Vec<Piece<'a>>> {
        let mut pieces = Vec::new();
        let mut rest = stream;
        while !rest.is_empty() {
            // A member that does not state its length may be the last: then the last bytes state
            // what it decodes to.
            let sized = gzip_member::sized_member(rest);
            let stored = sized.unwrap_or(rest);
            let original_len = gzip_member::stated_len(stored).map(u64::from);
            pieces.push(Piece {
                stored,
                original_len,
                guessed: sized.is_none(),
            });
            rest = &rest[stored.len()..];
        }
        Ok(pieces)
    }

    fn decompress_all(
        &self,
        stream: &[u8],
        out: &mut Vec<u8>,
        limit: u64,
        cancel: &Cancel,
    ) -> Result<()> {
        if stream.is_empty() {
            return Err(damaged(stream));
        }
        cancel.check()?;
        let start = out.len();
        let room = limit
            .saturating_sub(start as u64)
            .min(self.decompress_bound(stream)?);
        // The last four bytes state the length of the last member. If there is but one, libdeflate
        // can take it whole; what one wrong statement can cost is bounded.
        let guess = gzip_member::stated_len(stream).map_or(0, |len| len as usize);
        if guess > WHOLE_MEMBER || guess as u64 > room {
            return append_streamed(GzipDecompressor::new(), stream, out, limit, cancel);
        }
        out.resize(start + guess, 0);
        match read_member(stream, &mut out[start..]) {
            Member::Complete { read, written } => {
                out.truncate(start + written);
                let rest = &stream[read..];
                if rest.is_empty() {
                    return Ok(());
                }
                append_streamed(
                    GzipDecompressor::behind_a_member(),
                    rest,
                    out,
                    limit,
                    cancel,
                )
            }
            Member::NoRoom | Member::Damaged => {
                out.truncate(start);
                append_streamed(GzipDecompressor::new(), stream, out, limit, cancel)
            }
        }
    }

    fn compressor(&self) -> Result<Box<dyn stream::Compress>> {
        Ok(Box::new(GzipCompressor::new(self.level)))
    }

    fn decompressor(&self) -> Result<Box<dyn stream::Decompress>> {
        Ok(Box::new(GzipDecompressor::new()))
    }
}

/// Decodes all members, whatever their lengths, at most up to `limit` bytes in `out`.
fn append_streamed(
    mut decoder: GzipDecompressor,
    stream: &[u8],
    out: &mut Vec<u8>,
    limit: u64,
    cancel: &Cancel,
) -> Result<()> {
    const SLICE: usize = 1 << 20;
    let mut rest = stream;
    while !rest.is_empty() {
        cancel.check()?;
        let used = stream::Decompress::decompress(
            &mut decoder,
            &rest[..rest.len().min(SLICE)],
            out,
            SLICE,
        )?;
        rest = &rest[used..];
        if out.len() as u64 > limit {
            return Err(Error::Bomb {
                codec: NAME,
                claimed: limit,
            });
        }
    }
    stream::drain(&mut decoder, out, limit, NAME, cancel)
}

fn damaged(payload: &[u8]) -> Error {
    let detail = if payload.starts_with(&gzip_member::MAGIC) {
        "damaged or incomplete member"
    } else {
        "invalid gzip header"
    };
    Error::decode(NAME, detail)
}

/// What became of one member.
enum Member {
    Complete { read: usize, written: usize },
    NoRoom,
    Damaged,
}

thread_local! {
    static COMPRESSOR: RefCell<Option<(u32, Compressor)>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor>> = const { RefCell::new(None) };
}

fn with_compressor<T>(level: u32, work: impl FnOnce(&mut Compressor) -> T) -> Result<T> {
    let mut compressor = match COMPRESSOR.take() {
        Some((kept, compressor)) if kept == level => compressor,
        _ => {
            let level = CompressionLvl::new(level.cast_signed())
                .map_err(|_| Error::Argument(format!("gzip level {level} is not in 0..=9")))?;
            Compressor::new(level)
        }
    };
    let value = work(&mut compressor);
    COMPRESSOR.set(Some((level, compressor)));
    Ok(value)
}

/// libdeflate's decompressor. The `libdeflater` crate has one too, but its call does not tell how
/// much input a member took, which is what reading several members needs.
struct Decompressor(std::ptr::NonNull<libdeflate_sys::libdeflate_decompressor>);

#[expect(unsafe_code, reason = "C library")]
impl Decompressor {
    fn new() -> Option<Self> {
        // SAFETY: takes no arguments and returns null when out of memory.
        std::ptr::NonNull::new(unsafe { libdeflate_sys::libdeflate_alloc_decompressor() }).map(Self)
    }

    fn read_member(&mut self, src: &[u8], dst: &mut [u8]) -> Member {
        // libdeflate steps over the optional checksum of the header.
        if !gzip_member::header_checksum_holds(src) {
            return Member::Damaged;
        }
        let (mut read, mut written) = (0, 0);
        // SAFETY: the decompressor is live and used by nobody else (`&mut self`); source and
        // destination are given with their true lengths, and libdeflate stays inside them for any
        // input, which is its documented promise.
        let result = unsafe {
            libdeflate_sys::libdeflate_gzip_decompress_ex(
                self.0.as_ptr(),
                src.as_ptr().cast(),
                src.len(),
                dst.as_mut_ptr().cast(),
                dst.len(),
                &raw mut read,
                &raw mut written,
            )
        };
        match result {
            libdeflate_sys::libdeflate_result_LIBDEFLATE_SUCCESS => {
                Member::Complete { read, written }
            }
            libdeflate_sys::libdeflate_result_LIBDEFLATE_INSUFFICIENT_SPACE => Member::NoRoom,
            _ => Member::Damaged,
        }
    }
}

#[expect(unsafe_code, reason = "C library")]
impl Drop for Decompressor {
    fn drop(&mut self) {
        // SAFETY: came from `libdeflate_alloc_decompressor` and is freed once.
        unsafe { libdeflate_sys::libdeflate_free_decompressor(self.0.as_ptr()) }
    }
}

fn read_member(src: &[u8], dst: &mut [u8]) -> Member {
    let Some(mut decompressor) = DECOMPRESSOR.take().or_else(Decompressor::new) else {
        return Member::Damaged;
    };
    let member = decompressor.read_member(src, dst);
    DECOMPRESSOR.set(Some(decompressor));
    member
}
