//! zstd through libzstd 1.5.7, byte for byte as S4 writes it.
//!
//! S4's recipe is streaming compression with the total size *not* announced: other calls of the same
//! library choose other parameters and write another header. `content_size` gives that up for frames
//! that state their length, which suits small records: one-shot compression, tables fitted to the
//! record, and decoders that know the output length.

use std::{cell::RefCell, sync::Arc};

use zstd_safe::{
    CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective,
    zstd_sys::ZSTD_EndDirective::{ZSTD_e_continue, ZSTD_e_end},
};

use super::{
    Codec, CodecKind, Piece,
    dict::Dictionary,
    stream::{self, ZstdCompressor, ZstdDecompressor},
    zstd_frame::{self, Outline},
};
use crate::{
    error::{Error, Result},
    pool::Cancel,
};

/// The levels that S4 uses; others are clamped.
pub const LEVELS: std::ops::RangeInclusive<i32> = 1..=22;
/// The level unless the caller says otherwise.
pub const DEFAULT_LEVEL: i32 = 3;

/// A context above this size (levels from 20 up) is freed after use instead of being kept.
const CONTEXT_KEPT: usize = 128 << 20;
/// Input between two looks at the cancel flag. Slicing does not change the bytes.
const SLICE_LEN: usize = 256 << 10;
/// Output from which frames are decoded in slices, so that they can be cancelled.
const SLICED_OUTPUT: u64 = 64 << 20;
/// Output that is reserved for a frame without asking whether its length is plausible.
const RESERVED_AT_ONCE: u64 = 16 << 20;
/// A frame that may decode to more than this many times its length gets memory as it fills it.
const PLAUSIBLE_RATIO: u64 = 256;
/// Room for a frame header beyond libzstd's bound, which is meant for one-shot compression.
const HEADER_ROOM: usize = 32;
/// `ZSTD_error_dictionary_wrong` as libzstd returns it.
const DICTIONARY_WRONG: usize = 0usize.wrapping_sub(32);
/// `ZSTD_error_dstSize_tooSmall` as libzstd returns it.
const DST_TOO_SMALL: usize = 0usize.wrapping_sub(70);

/// The codec `cpu-zstd`, and with a dictionary `cpu-zstd-dict`.
#[derive(Debug, Clone)]
pub struct CpuZstd {
    level: i32,
    content_size: bool,
    checksum: bool,
    dictionary: Option<Arc<Dictionary>>,
}

impl CpuZstd {
    /// Plain zstd; the level is clamped to 1..=22.
    #[must_use]
    pub fn new(level: i32, content_size: bool) -> Self {
        let level = level.clamp(*LEVELS.start(), *LEVELS.end());
        Self {
            content_size,
            ..Self::plain(level)
        }
    }

    /// Plain zstd at a level that is known to be in range.
    pub(crate) const fn plain(level: i32) -> Self {
        Self {
            level,
            content_size: false,
            checksum: false,
            dictionary: None,
        }
    }

    /// zstd with a dictionary: trained, or any bytes as raw content.
    ///
    /// # Errors
    /// [`Error::Backend`] if the dictionary is empty.
    pub fn new_with_dictionary(bytes: &[u8], level: i32, content_size: bool) -> Result<Self> {
        let plain = Self::new(level, content_size);
        let dictionary = Some(Arc::new(Dictionary::new(bytes, plain.level)?));
        Ok(Self {
            dictionary,
            ..plain
        })
    }

    /// The level in force.
    #[must_use]
    pub const fn level(&self) -> i32 {
        self.level
    }

    /// The same codec with or without a checksum of the content at the end of every frame. S4
    /// writes none, its own CRC32C being outside of the payload; the `zstd` tool writes one.
    #[must_use]
    pub fn with_checksum(self, checksum: bool) -> Self {
        Self { checksum, ..self }
    }

    /// The same codec without its dictionary.
    #[must_use]
    pub fn without_dictionary(&self) -> Self {
        Self {
            dictionary: None,
            ..*self
        }
    }

    /// Do frames state their length?
    #[must_use]
    pub const fn content_size(&self) -> bool {
        self.content_size
    }

    /// Do frames end with a checksum?
    #[must_use]
    pub const fn checksum(&self) -> bool {
        self.checksum
    }

    /// The dictionary, if it has one.
    #[must_use]
    pub fn dictionary(&self) -> Option<&Dictionary> {
        self.dictionary.as_deref()
    }

    fn name(&self) -> &'static str {
        self.kind().name()
    }

    fn fail(&self, code: usize) -> Error {
        Error::decode(self.name(), describe(code))
    }

    /// Decodes the one frame that `frame` holds to the front of `dst`.
    fn decode_frame(
        &self,
        frame: &[u8],
        outline: Outline,
        dst: &mut [u8],
        cancel: &Cancel,
    ) -> Result<usize> {
        let capacity = dst.len() as u64;
        let result = with_dctx(|dctx| match &self.dictionary {
            Some(dictionary) => {
                Ok(dctx.decompress_using_ddict(dst, frame, dictionary.for_decompression()?))
            }
            None if outline.bound > SLICED_OUTPUT => decode_sliced(dctx, frame, dst, cancel),
            None => Ok(dctx.decompress(dst, frame)),
        })??;
        result.map_err(|code| match code {
            DST_TOO_SMALL => Error::Bomb {
                codec: self.name(),
                claimed: capacity,
            },
            _ => self.fail(code),
        })
    }

    /// Decodes one frame onto the end of `out`, which grows with what really comes out.
    fn append_frame(
        &self,
        frame: &[u8],
        outline: Outline,
        out: &mut Vec<u8>,
        limit: u64,
        cancel: &Cancel,
    ) -> Result<()> {
        let start = out.len();
        let room = limit.saturating_sub(start as u64);
        if outline.bound > RESERVED_AT_ONCE && outline.bound / PLAUSIBLE_RATIO > frame.len() as u64
        {
            return self.append_growing(frame, out, limit, cancel);
        }
        out.resize(start + outline.bound.min(room) as usize, 0);
        let written = self
            .decode_frame(frame, outline, &mut out[start..], cancel)
            .map_err(|error| match error {
                Error::Bomb { codec, .. } => Error::Bomb {
                    codec,
                    claimed: limit,
                },
                other => other,
            })?;
        out.truncate(start + written);
        Ok(())
    }

    /// As [`Self::append_frame`] for a frame whose blocks allow far more than they are likely to hold.
    fn append_growing(
        &self,
        frame: &[u8],
        out: &mut Vec<u8>,
        limit: u64,
        cancel: &Cancel,
    ) -> Result<()> {
        let mut decoder = ZstdDecompressor::new(self.dictionary())?;
        let mut rest = frame;
        while !rest.is_empty() {
            cancel.check()?;
            let used = stream::Decompress::decompress(&mut decoder, rest, out, SLICE_LEN)?;
            rest = &rest[used..];
            if out.len() as u64 > limit {
                return Err(Error::Bomb {
                    codec: self.name(),
                    claimed: limit,
                });
            }
        }
        stream::drain(&mut decoder, out, limit, self.name(), cancel)
    }
}

impl Codec for CpuZstd {
    fn kind(&self) -> CodecKind {
        if self.dictionary.is_some() {
            CodecKind::CpuZstdDict
        } else {
            CodecKind::CpuZstd
        }
    }

    fn compress_bound(&self, len: usize) -> usize {
        zstd_safe::compress_bound(len) + HEADER_ROOM
    }

    fn compress_into(&self, src: &[u8], dst: &mut [u8], cancel: &Cancel) -> Result<usize> {
        let capacity = dst.len() as u64;
        let result = with_cctx(self, |cctx| {
            if self.content_size {
                Ok(cctx.compress2(dst, src))
            } else {
                compress_streamed(cctx, src, dst, cancel)
            }
        })??;
        result.map_err(|code| match code {
            DST_TOO_SMALL => Error::DestinationTooSmall {
                capacity,
                needed: self.compress_bound(src.len()) as u64,
            },
            _ => self.fail(code),
        })
    }

    fn decompress_bound(&self, payload: &[u8]) -> Result<u64> {
        let mut bound = 0u64;
        for frame in frames(payload) {
            bound = bound.saturating_add(frame?.1.bound);
        }
        Ok(bound)
    }

    fn decompress_into(&self, payload: &[u8], dst: &mut [u8], cancel: &Cancel) -> Result<usize> {
        if payload.is_empty() {
            return Err(Error::decode(self.name(), "incomplete frame"));
        }
        let mut at = 0;
        for frame in frames(payload) {
            cancel.check()?;
            let (frame, outline) = frame?;
            if !outline.skippable {
                at += self.decode_frame(frame, outline, &mut dst[at..], cancel)?;
            }
        }
        Ok(at)
    }

    fn stated_len(&self, record: &[u8]) -> Option<usize> {
        let outline = zstd_frame::outline(record).ok()?;
        // The bound is not above the content size, so that it equals it if the blocks can hold it.
        let len = outline.content_size.filter(|&len| len == outline.bound)?;
        let plausible = len <= RESERVED_AT_ONCE && outline.stored_len == record.len();
        plausible.then_some(len as usize)
    }

    fn pieces<'a>(&self, stream: &'a [u8]) -> Result<Vec<Piece<'a>>> {
        frames(stream)
            .filter(|frame| !frame.as_ref().is_ok_and(|(_, outline)| outline.skippable))
            .map(|frame| {
                frame.map(|(stored, outline)| Piece {
                    stored,
                    original_len: outline.content_size,
                    guessed: false,
                })
            })
            .collect()
    }

    fn decompress_all(
        &self,
        stream: &[u8],
        out: &mut Vec<u8>,
        limit: u64,
        cancel: &Cancel,
    ) -> Result<()> {
        if stream.is_empty() {
            return Err(Error::decode(self.name(), "incomplete frame"));
        }
        for frame in frames(stream) {
            cancel.check()?;
            let (frame, outline) = frame?;
            if !outline.skippable {
                self.append_frame(frame, outline, out, limit, cancel)?;
            }
        }
        Ok(())
    }

    fn with_dictionary(&self) -> Option<(&CpuZstd, &Dictionary)> {
        Some((self, self.dictionary()?))
    }

    fn compressor(&self) -> Result<Box<dyn stream::Compress>> {
        Ok(Box::new(ZstdCompressor::new(
            self.level,
            self.checksum,
            self.dictionary(),
        )?))
    }

    fn decompressor(&self) -> Result<Box<dyn stream::Decompress>> {
        Ok(Box::new(ZstdDecompressor::new(self.dictionary())?))
    }
}

/// An error of libzstd in words.
pub(super) fn describe(code: usize) -> &'static str {
    match code {
        DICTIONARY_WRONG => "the frame was made with a dictionary: not given, or not this one",
        _ => zstd_safe::get_error_name(code),
    }
}

/// Decodes exactly the frames of `src` to the front of `dst`, for containers that know the length.
pub fn decompress_exact(src: &[u8], dst: &mut [u8]) -> Result<usize> {
    CpuZstd::plain(DEFAULT_LEVEL).decompress_into(src, dst, &Cancel::new())
}

/// The frames of a stream, one after another; ends after the first error.
fn frames(stream: &[u8]) -> impl Iterator<Item = Result<(&[u8], Outline)>> {
    let mut rest = stream;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let outline = zstd_frame::outline(rest);
        let len = outline
            .as_ref()
            .map_or(rest.len(), |outline| outline.stored_len);
        let (frame, after) = rest.split_at(len);
        rest = after;
        Some(outline.map(|outline| (frame, outline)))
    })
}

type ZstdResult = std::result::Result<usize, usize>;

/// S4's recipe: all input with "continue", then the end with no input.
fn compress_streamed(
    cctx: &mut CCtx<'static>,
    src: &[u8],
    dst: &mut [u8],
    cancel: &Cancel,
) -> Result<ZstdResult> {
    let mut output = OutBuffer::around(dst);
    let mut step = |slice: &[u8], directive| {
        let mut input = InBuffer::around(slice);
        loop {
            let left = cctx.compress_stream2(&mut output, &mut input, directive)?;
            let done = if directive == ZSTD_e_end {
                left == 0
            } else {
                input.pos() == slice.len()
            };
            if done {
                return Ok(output.pos());
            }
            if output.pos() == output.capacity() {
                return Err(DST_TOO_SMALL);
            }
        }
    };
    for slice in src.chunks(SLICE_LEN) {
        cancel.check()?;
        if let Err(code) = step(slice, ZSTD_e_continue) {
            return Ok(Err(code));
        }
    }
    Ok(step(&[], ZSTD_e_end))
}

/// Decodes a large frame in slices of its input, straight into `dst`.
fn decode_sliced(
    dctx: &mut DCtx<'static>,
    frame: &[u8],
    dst: &mut [u8],
    cancel: &Cancel,
) -> Result<ZstdResult> {
    // The window lies in the output itself then, which saves a copy of everything.
    if let Err(code) = dctx.set_parameter(DParameter::StableOutBuffer(true)) {
        return Ok(Err(code));
    }
    let mut output = OutBuffer::around(dst);
    let mut input = InBuffer::around(&[]);
    for end in (SLICE_LEN..frame.len())
        .step_by(SLICE_LEN)
        .chain([frame.len()])
    {
        cancel.check()?;
        let mut next = InBuffer::around(&frame[..end]);
        next.set_pos(input.pos());
        input = next;
        while input.pos() < end {
            match dctx.decompress_stream(&mut output, &mut input) {
                Err(code) => return Ok(Err(code)),
                Ok(0) => return Ok(Ok(output.pos())),
                Ok(_) => {}
            }
        }
    }
    Ok(Ok(output.pos()))
}

thread_local! {
    static CCTX: RefCell<Option<CCtx<'static>>> = const { RefCell::new(None) };
    static DCTX: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
}

/// Lends this thread's compression context, set up and without a session.
#[expect(
    unsafe_code,
    reason = "a dictionary is lent to a context that outlives it"
)]
fn with_cctx<T>(codec: &CpuZstd, work: impl FnOnce(&mut CCtx<'static>) -> T) -> Result<T> {
    let mut cctx = match CCTX.take() {
        Some(cctx) => cctx,
        None => CCtx::try_create().ok_or_else(no_memory)?,
    };
    let setup = cctx
        .set_parameter(CParameter::CompressionLevel(codec.level))
        .and_then(|_| cctx.set_parameter(CParameter::ChecksumFlag(codec.checksum)));
    let setup = match &codec.dictionary {
        None => setup,
        Some(dictionary) => {
            let prepared = dictionary.for_compression()?;
            // SAFETY: the context keeps a bare pointer to the prepared dictionary. `reset` below
            // clears it before the dictionary, which `codec` owns for this whole call, can go away;
            // on an early return or a panic in between the context is dropped instead of being kept,
            // and dropping it does not touch the dictionary.
            let prepared: &'static zstd_safe::CDict<'static> =
                unsafe { &*std::ptr::from_ref(prepared) };
            setup.and_then(|_| cctx.ref_cdict(prepared))
        }
    };
    setup.map_err(|code| Error::Backend(zstd_safe::get_error_name(code).into()))?;
    let value = work(&mut cctx);
    if cctx.reset(ResetDirective::SessionAndParameters).is_ok() && cctx.sizeof() <= CONTEXT_KEPT {
        CCTX.set(Some(cctx));
    }
    Ok(value)
}

fn no_memory() -> Error {
    Error::Backend("no memory for a zstd context".into())
}

/// Lends this thread's decompression context, without a session.
fn with_dctx<T>(work: impl FnOnce(&mut DCtx<'static>) -> T) -> Result<T> {
    let mut dctx = match DCTX.take() {
        Some(dctx) => dctx,
        None => DCtx::try_create().ok_or_else(no_memory)?,
    };
    let value = work(&mut dctx);
    if dctx.reset(ResetDirective::SessionAndParameters).is_ok() {
        DCTX.set(Some(dctx));
    }
    Ok(value)
}
