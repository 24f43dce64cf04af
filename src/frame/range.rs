//! From a range of the original to a range of the body, and back.

use super::{
    index::{Encryption, Index},
    read::{self, Decoding},
};
use crate::{
    error::{Error, IndexError, Result},
    memory,
};

/// Tag bytes of every encrypted chunk.
const TAG_LEN: u64 = 16;

/// Which bytes of the body hold a range of the original.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Number of the first frame.
    pub first_frame: usize,
    /// Number of the last frame, inclusive.
    pub last_frame: usize,
    /// Where the stored bytes start.
    pub byte_start: u64,
    /// Where they end; padding between the frames is inside.
    pub byte_end: u64,
    /// Where the range starts in the decoded, joined frames.
    pub slice_start: u64,
    /// Where it ends.
    pub slice_end: u64,
}

/// Plans the half-open range `start..end` of the original; `end` is cut to its length.
///
/// `None` if the range holds nothing or an end of it lies in a gap between entries.
#[must_use]
pub fn plan_range(index: &Index, start: u64, end: u64) -> Option<Plan> {
    let total = index.total_original();
    if start >= end || start >= total {
        return None;
    }
    let end = end.min(total);
    let first_frame = holder(index, start)?;
    let last_frame = holder(index, end - 1)?;
    let (first, last) = (index.entries[first_frame], index.entries[last_frame]);
    Some(Plan {
        first_frame,
        last_frame,
        byte_start: first.stored_offset,
        byte_end: last.stored_end(),
        slice_start: start - first.original_offset,
        slice_end: end - first.original_offset,
    })
}

/// The entry that contains the byte at `position`; entries of no bytes contain none.
fn holder(index: &Index, position: u64) -> Option<usize> {
    let at = index
        .entries
        .partition_point(|entry| entry.original_end() <= position);
    index
        .entries
        .get(at)
        .filter(|entry| entry.original_offset <= position)
        .map(|_| at)
}

/// Which bytes of an encrypted body hold a planned range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncryptedPlan {
    /// First chunk.
    pub first_chunk: u64,
    /// Last chunk, inclusive.
    pub last_chunk: u64,
    /// Where the stored bytes start.
    pub byte_start: u64,
    /// Where they end.
    pub byte_end: u64,
    /// Where the planned range starts in the decrypted, joined chunks.
    pub slice_start: u64,
    /// Where it ends.
    pub slice_end: u64,
}

/// Translates a plan over the plain body into one over its encryption envelope.
#[must_use]
pub fn plan_encrypted(encryption: &Encryption, plan: &Plan) -> Option<EncryptedPlan> {
    if plan.byte_end > encryption.plaintext_len || plan.byte_start >= plan.byte_end {
        return None;
    }
    let chunk = u64::from(encryption.chunk_size);
    let (first_chunk, last_chunk) = (plan.byte_start / chunk, (plan.byte_end - 1) / chunk);
    if last_chunk >= u64::from(encryption.chunk_count) {
        return None;
    }
    let offset = |number: u64| {
        number
            .saturating_mul(chunk + TAG_LEN)
            .saturating_add(u64::from(encryption.header_len))
    };
    let last_len = if last_chunk + 1 < u64::from(encryption.chunk_count) {
        chunk
    } else {
        encryption.plaintext_len.saturating_sub(last_chunk * chunk)
    };
    Some(EncryptedPlan {
        first_chunk,
        last_chunk,
        byte_start: offset(first_chunk),
        byte_end: offset(last_chunk)
            .saturating_add(last_len)
            .saturating_add(TAG_LEN),
        slice_start: plan.byte_start - first_chunk * chunk,
        slice_end: plan.byte_end - first_chunk * chunk,
    })
}

/// Frames follow each other without gaps in the original, so an index with gaps does not describe a
/// body and would shift what is read through it.
fn check_contiguous(index: &Index) -> Result<()> {
    let mut end = 0;
    for (number, entry) in index.entries.iter().enumerate() {
        if entry.original_offset != end {
            return Err(Error::Index(IndexError::FrameMismatch(number as u64)));
        }
        end = entry.original_end();
    }
    Ok(())
}

/// A part of something decoded, without a copy of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// All that was decoded.
    pub decoded: Vec<u8>,
    /// The part that was asked for, inside of `decoded`.
    pub slice: std::ops::Range<usize>,
}

impl Slice {
    /// The part that was asked for.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.decoded[self.slice.clone()]
    }
}

/// Decodes a planned range from `window`, the bytes `plan.byte_start..plan.byte_end` of the body.
///
/// # Errors
/// [`Error::Index`] if the frames found there are not the ones that the index promises.
pub fn decode_planned(
    index: &Index,
    plan: &Plan,
    window: &[u8],
    decoding: Decoding<'_>,
) -> Result<Slice> {
    check_contiguous(index)?;
    let frames = read::read_frames(window)?;
    let entries = &index.entries[plan.first_frame..=plan.last_frame];
    for (at, entry) in entries.iter().enumerate() {
        let agrees = frames.get(at).is_some_and(|frame| {
            frame.header.original_size == entry.original_size
                && frame.offset + plan.byte_start == entry.stored_offset
        });
        if !agrees {
            return Err(Error::Index(IndexError::FrameMismatch(
                (plan.first_frame + at) as u64,
            )));
        }
    }
    if frames.len() != entries.len() {
        return Err(Error::Index(IndexError::FrameMismatch(
            (plan.last_frame + 1) as u64,
        )));
    }
    let mut decoded = memory::zeroed(read::output_len(&frames, decoding)?);
    read::decode_frames(&frames, &mut decoded, decoding)?;
    // A gap between the entries would shift what follows it; the total tells.
    let slice = plan.slice_start as usize..plan.slice_end as usize;
    if slice.end > decoded.len() {
        return Err(Error::Index(IndexError::FrameMismatch(
            plan.last_frame as u64,
        )));
    }
    Ok(Slice { decoded, slice })
}
