//! Reading frames: walking a body, decoding payloads in parallel straight into their final place.

use rayon::prelude::*;

use super::{FrameHeader, PADDING_HEADER_LEN, PADDING_MAGIC};
use crate::{
    checksum,
    codec::{self, Claim, Codec, CodecKind, CpuGzip, CpuZstd, check_claim, gzip, zstd},
    error::{Error, FrameError, Result},
    gpu::fcg1,
    pool::{self, Cancel},
};

/// A frame inside a body.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// What the header says.
    pub header: FrameHeader,
    /// The payload, as long as the header says.
    pub payload: &'a [u8],
    /// Where the header starts in the body.
    pub offset: u64,
}

impl Frame<'_> {
    /// Header and payload together, in bytes.
    #[must_use]
    pub fn stored_len(&self) -> u64 {
        super::FRAME_HEADER_LEN as u64 + self.header.payload_size
    }
}

/// Reads one frame off the front of `bytes`; returns it and what follows.
pub fn read_frame(bytes: &[u8]) -> Result<(Frame<'_>, &[u8]), FrameError> {
    let header = FrameHeader::parse(bytes)?;
    let rest = &bytes[super::FRAME_HEADER_LEN..];
    if header.payload_size > rest.len() as u64 {
        return Err(FrameError::PayloadTruncated {
            claimed: header.payload_size,
            have: rest.len() as u64,
        });
    }
    let (payload, rest) = rest.split_at(header.payload_size as usize);
    Ok((
        Frame {
            header,
            payload,
            offset: 0,
        },
        rest,
    ))
}

/// The frames of a body in order, padding stepped over. Ends after the first error.
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    rest: &'a [u8],
    offset: u64,
}

impl<'a> Frames<'a> {
    /// Walks `body`.
    #[must_use]
    pub fn new(body: &'a [u8]) -> Self {
        Self {
            rest: body,
            offset: 0,
        }
    }

    fn step(&mut self) -> Result<Option<Frame<'a>>, FrameError> {
        while let Some(after) = self.rest.strip_prefix(&PADDING_MAGIC) {
            let need = PADDING_HEADER_LEN;
            let length: &[u8; 8] = after.first_chunk().ok_or(FrameError::TooShort {
                need,
                have: self.rest.len(),
            })?;
            let claimed = u64::from_le_bytes(*length);
            let have = (self.rest.len() - need) as u64;
            if claimed > have {
                return Err(FrameError::PaddingTruncated { claimed, have });
            }
            self.rest = &self.rest[need + claimed as usize..];
            self.offset += need as u64 + claimed;
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (mut frame, rest) = read_frame(self.rest)?;
        frame.offset = self.offset;
        self.offset += frame.stored_len();
        self.rest = rest;
        Ok(Some(frame))
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.rest = &[];
        }
        step.transpose()
    }
}

/// All frames of a body, or the first error.
pub fn read_frames(body: &[u8]) -> Result<Vec<Frame<'_>>, FrameError> {
    Frames::new(body).collect()
}

/// What is needed to decode payloads beside the payloads.
#[derive(Debug, Clone, Copy)]
pub struct Decoding<'a> {
    /// The dictionary for `cpu-zstd-dict`.
    pub dictionary: Option<&'a CpuZstd>,
    /// The id the metadata give for it, for the error that it is missing.
    pub dict_id: Option<&'a str>,
    /// Largest original size, of each payload and of all together.
    pub limit: u64,
    /// Stops the work.
    pub cancel: &'a Cancel,
}

/// Original bytes of all frames together.
///
/// # Errors
/// [`Error::ClaimExceedsLimit`] if that, or one frame, is above the limit.
pub fn total_original(frames: &[Frame<'_>], decoding: Decoding<'_>) -> Result<u64> {
    let mut total = 0u64;
    for frame in frames {
        total = total.saturating_add(frame.header.original_size);
        codec::check_limit(total, decoding.limit)?;
    }
    Ok(total)
}

/// Length of the buffer that [`decode_frames`] needs: that of all originals, once every payload has
/// been found able to hold what its header claims.
pub fn output_len(frames: &[Frame<'_>], decoding: Decoding<'_>) -> Result<usize> {
    let total = total_original(frames, decoding)?;
    for frame in frames {
        let len = payload_output_len(frame.header.codec, frame.payload, claim(frame), decoding)?;
        if (len as u64) < frame.header.original_size {
            // It will fail; decoding it alone tells how, without memory for all the rest.
            decode_payload(
                frame.header.codec,
                frame.payload,
                claim(frame),
                &mut vec![0; len],
                decoding,
            )?;
        }
    }
    Ok(total as usize)
}

/// Decodes all frames into `dst`, as long as [`output_len`] says, in parallel on the pool this runs in.
pub fn decode_frames(frames: &[Frame<'_>], dst: &mut [u8], decoding: Decoding<'_>) -> Result<()> {
    let mut places = Vec::with_capacity(frames.len());
    let mut rest = dst;
    for frame in frames {
        let (place, after) = rest
            .split_at_mut_checked(frame.header.original_size as usize)
            .ok_or_else(changed)?;
        places.push((frame, place));
        rest = after;
    }
    if !rest.is_empty() {
        return Err(changed());
    }
    let one = |(frame, place): (&Frame<'_>, &mut [u8])| {
        decoding.cancel.check()?;
        decode_payload(
            frame.header.codec,
            frame.payload,
            claim(frame),
            place,
            decoding,
        )
    };
    if places.len() < 2 || pool::workers() < 2 {
        return places.into_iter().try_for_each(one);
    }
    // All are tried, so that the error reported is the first in order, not in time.
    places
        .into_par_iter()
        .map(one)
        .collect::<Vec<_>>()
        .into_iter()
        .collect()
}

/// CRC32C of all originals together, from the frames' own.
#[must_use]
pub fn combined_crc32c(frames: &[Frame<'_>]) -> u32 {
    frames.iter().fold(0, |crc, frame| {
        checksum::combine(crc, frame.header.crc32c, frame.header.original_size)
    })
}

/// What a frame's header says of its original.
#[must_use]
pub fn claim(frame: &Frame<'_>) -> Claim {
    Claim {
        original_size: frame.header.original_size,
        crc32c: frame.header.crc32c,
    }
}

/// Length of the buffer for one payload: its claim, or less if it cannot hold that much.
pub fn payload_output_len(
    kind: CodecKind,
    payload: &[u8],
    claim: Claim,
    decoding: Decoding<'_>,
) -> Result<usize> {
    match Reader::of(kind, decoding)? {
        Reader::Verbatim => {
            codec::check_limit(claim.original_size, decoding.limit)?;
            if payload.len() as u64 == claim.original_size {
                return Ok(payload.len());
            }
            let (expected, actual) = (claim.original_size, payload.len() as u64);
            Err(crc_first(
                Error::SizeMismatch { expected, actual },
                claim,
                payload,
            ))
        }
        Reader::Cpu(codec) => codec::output_len(codec, payload, claim, decoding.limit),
        Reader::Gpu => {
            codec::check_limit(claim.original_size, decoding.limit)?;
            let actual = fcg1::Container::parse(payload)?.original_size();
            if actual != claim.original_size {
                return Err(Error::SizeMismatch {
                    expected: claim.original_size,
                    actual,
                });
            }
            Ok(claim.original_size as usize)
        }
    }
}

/// Decodes one payload into `dst`, as long as [`payload_output_len`] says, and checks it.
pub fn decode_payload(
    kind: CodecKind,
    payload: &[u8],
    claim: Claim,
    dst: &mut [u8],
    decoding: Decoding<'_>,
) -> Result<()> {
    match Reader::of(kind, decoding)? {
        Reader::Verbatim => {
            check_claim(claim, payload).map_err(|error| crc_first(error, claim, payload))?;
            copy_whole(payload, dst)
        }
        Reader::Cpu(codec) => {
            codec::decompress_claimed(codec, payload, claim, dst, decoding.cancel)
        }
        Reader::Gpu => {
            fcg1::decompress_into(payload, kind, dst, decoding.cancel)?;
            check_claim(claim, dst)
        }
    }
}

/// Copies all of `src` to `dst`.
///
/// # Errors
/// [`Error::Argument`] if their lengths differ, which they do when somebody changes the input while
/// it is read: lengths are taken before, bytes after.
pub fn copy_whole(src: &[u8], dst: &mut [u8]) -> Result<()> {
    if src.len() != dst.len() {
        return Err(changed());
    }
    dst.copy_from_slice(src);
    Ok(())
}

fn changed() -> Error {
    Error::Argument("the input changed while it was read".into())
}

/// S4 checks the CRC32C of passthrough data before their length.
fn crc_first(error: Error, claim: Claim, payload: &[u8]) -> Error {
    let actual = checksum::crc32c_parallel(payload, 0);
    if actual == claim.crc32c {
        error
    } else {
        Error::CrcMismatch {
            expected: claim.crc32c,
            actual,
        }
    }
}

/// Who reads a payload.
enum Reader<'a> {
    Verbatim,
    Cpu(&'a dyn Codec),
    Gpu,
}

impl<'a> Reader<'a> {
    fn of(kind: CodecKind, decoding: Decoding<'a>) -> Result<Self> {
        static ZSTD: CpuZstd = CpuZstd::plain(zstd::DEFAULT_LEVEL);
        static GZIP: CpuGzip = CpuGzip::with_level(gzip::DEFAULT_LEVEL);
        match kind {
            CodecKind::Passthrough => Ok(Self::Verbatim),
            CodecKind::CpuZstd => Ok(Self::Cpu(&ZSTD)),
            CodecKind::CpuGzip => Ok(Self::Cpu(&GZIP)),
            CodecKind::CpuZstdDict => match decoding.dictionary {
                Some(codec) => Ok(Self::Cpu(codec)),
                None => Err(Error::Dictionary {
                    id: decoding.dict_id.unwrap_or("?").into(),
                    problem: "is needed to read this and was not given; pass it in dicts={id: bytes}",
                }),
            },
            CodecKind::NvcompZstd | CodecKind::NvcompGdeflate => Ok(Self::Gpu),
            CodecKind::NvcompBitcomp | CodecKind::NvcompGans | CodecKind::DietgpuAns => {
                Err(Error::UnsupportedCodec { codec: kind })
            }
        }
    }
}
