//! Writing frames: a body cut into chunks, and multipart parts with their padding.

use rayon::prelude::*;

use super::{FRAME_HEADER_LEN, FrameHeader, PADDING_HEADER_LEN, PADDING_MAGIC};
use crate::{
    checksum,
    codec::Codec,
    error::{Error, Result},
    pool::{self, Cancel},
};

/// S3 refuses multipart parts below this, the last one excepted.
pub const MIN_PART_LEN: usize = 5 << 20;

/// S3 takes no larger part.
pub const MAX_PART_LEN: usize = 5 << 30;

/// A body as the frames it consists of.
#[derive(Debug, Default)]
pub struct Body {
    /// The frames, header and payload together.
    pub frames: Vec<Vec<u8>>,
    /// The original length of each frame.
    pub original_lens: Vec<usize>,
    /// CRC32C of all original bytes.
    pub crc32c: u32,
}

impl Body {
    /// Length of the joined frames in bytes.
    #[must_use]
    pub fn stored_len(&self) -> usize {
        self.frames.iter().map(Vec::len).sum()
    }
}

/// One frame over all of `data`.
pub fn write_frame(codec: &dyn Codec, data: &[u8], cancel: &Cancel) -> Result<Vec<u8>> {
    write_checked_frame(codec, data, checksum::crc32c(data, 0), cancel)
}

fn write_checked_frame(
    codec: &dyn Codec,
    data: &[u8],
    crc32c: u32,
    cancel: &Cancel,
) -> Result<Vec<u8>> {
    // Compressed where it stays; what the bound asked for too much was never touched.
    let mut frame = vec![0; FRAME_HEADER_LEN + codec.compress_bound(data.len())];
    let payload_len = codec.compress_into(data, &mut frame[FRAME_HEADER_LEN..], cancel)?;
    let header = FrameHeader {
        codec: codec.kind(),
        original_size: data.len() as u64,
        payload_size: payload_len as u64,
        crc32c,
    };
    frame[..FRAME_HEADER_LEN].copy_from_slice(&header.to_bytes());
    frame.truncate(FRAME_HEADER_LEN + payload_len);
    frame.shrink_to_fit();
    Ok(frame)
}

/// Cuts `data` into frames of `chunk_len` original bytes each, in parallel on the pool this runs in.
/// The bytes do not depend on the number of threads; empty data have no frame.
pub fn encode_frames(
    codec: &dyn Codec,
    data: &[u8],
    chunk_len: usize,
    cancel: &Cancel,
) -> Result<Body> {
    if chunk_len == 0 {
        return Err(Error::Argument(
            "a chunk size of 0 bytes cuts nothing".into(),
        ));
    }
    let one = |chunk: &[u8]| {
        cancel.check()?;
        let crc32c = checksum::crc32c(chunk, 0);
        Ok((
            write_checked_frame(codec, chunk, crc32c, cancel)?,
            chunk.len(),
            crc32c,
        ))
    };
    let parts: Vec<(Vec<u8>, usize, u32)> = if data.len() <= chunk_len || pool::workers() < 2 {
        data.chunks(chunk_len).map(one).collect::<Result<_>>()?
    } else {
        data.par_chunks(chunk_len).map(one).collect::<Result<_>>()?
    };
    let mut body = Body::default();
    for (frame, len, crc32c) in parts {
        body.crc32c = checksum::combine(body.crc32c, crc32c, len as u64);
        body.frames.push(frame);
        body.original_lens.push(len);
    }
    Ok(body)
}

/// Appends the padding that the gateway gives a framed multipart part.
///
/// Parts of less than 5 MiB of original data are taken for the last one and stay as they are; others
/// are padded to 5 MiB, or with `uniform` to a size that depends on the original length alone.
///
/// # Errors
/// [`Error::Argument`] above [`MAX_PART_LEN`], [`Error::Backend`] without memory for the padding.
pub fn pad_part(framed: &mut Vec<u8>, original_len: usize, uniform: bool) -> Result<()> {
    if original_len > MAX_PART_LEN {
        let text = format!("a part of {original_len} bytes is above the limit of {MAX_PART_LEN}");
        return Err(Error::Argument(text));
    }
    if original_len < MIN_PART_LEN {
        return Ok(());
    }
    let target = MIN_PART_LEN.max(original_len + original_len / 128 + 4096);
    let fits = uniform && framed.len() + PADDING_HEADER_LEN <= target;
    pad_to_minimum(framed, if fits { target } else { MIN_PART_LEN })
}

/// Appends one padding frame if `framed` is shorter than `minimum`. The result has exactly that
/// length where a padding header fits in, else a few bytes more.
///
/// # Errors
/// [`Error::Backend`] without memory for the padding.
pub fn pad_to_minimum(framed: &mut Vec<u8>, minimum: usize) -> Result<()> {
    if framed.len() >= minimum {
        return Ok(());
    }
    let filler = (minimum - framed.len()).saturating_sub(PADDING_HEADER_LEN);
    framed
        .try_reserve_exact(PADDING_HEADER_LEN + filler)
        .map_err(|_| Error::Backend(format!("no memory for {filler} bytes of padding")))?;
    framed.extend_from_slice(&PADDING_MAGIC);
    framed.extend_from_slice(&(filler as u64).to_le_bytes());
    framed.resize(framed.len() + filler, 0);
    Ok(())
}
