//! Plain streams: every frame or member of one, in parallel where they state their lengths.

use rayon::prelude::*;

use super::{Codec, Piece, check_limit};
use crate::{
    error::{Error, Result},
    pool::{self, Cancel},
};

/// The pieces of a plain stream and, if all of them state one that they can hold, their length
/// together.
///
/// # Errors
/// [`Error::ClaimExceedsLimit`] if the stated length is above the limit.
pub fn open<'a>(
    codec: &dyn Codec,
    stream: &'a [u8],
    limit: u64,
) -> Result<(Vec<Piece<'a>>, Option<usize>)> {
    let pieces = codec.pieces(stream)?;
    let mut total = Some(0u64);
    for piece in &pieces {
        total = match (total, piece.original_len) {
            (Some(total), Some(len)) if len <= codec.decompress_bound(piece.stored)? => {
                total.checked_add(len)
            }
            _ => None,
        };
    }
    match total {
        // A guess about more than is allowed is no reason to refuse: the decoder will see.
        Some(total) if total > limit && pieces.iter().any(|piece| piece.guessed) => {
            return Ok((pieces, None));
        }
        Some(total) => check_limit(total, limit)?,
        None => {}
    }
    // A stream without pieces (skippable frames only, or nothing) is left to the decoder to judge.
    let total = total.filter(|_| !pieces.is_empty());
    Ok((pieces, total.map(|total| total as usize)))
}

/// Decodes pieces whose lengths are all stated into `dst`, in parallel on the pool this runs in.
///
/// False if a piece does not hold what it states, which need not be damage: the last four bytes of
/// several gzip members state the length of the last one alone. [`Codec::decompress_all`] decides.
pub fn decode_pieces(
    codec: &dyn Codec,
    pieces: &[Piece<'_>],
    dst: &mut [u8],
    cancel: &Cancel,
) -> Result<bool> {
    let mut places = Vec::with_capacity(pieces.len());
    let mut rest = dst;
    for piece in pieces {
        let len = piece.original_len.unwrap_or(0) as usize;
        let (place, after) = rest.split_at_mut_checked(len).ok_or_else(|| {
            Error::Argument("the destination is shorter than the pieces state".into())
        })?;
        places.push((piece, place));
        rest = after;
    }
    if !rest.is_empty() {
        return Ok(false);
    }
    let one = |(piece, place): (&Piece<'_>, &mut [u8])| {
        cancel.check()?;
        codec.decompress_exact(piece.stored, place, cancel)
    };
    let results: Vec<Result<bool>> = if places.len() < 2 || pool::workers() < 2 {
        places.into_iter().map(one).collect()
    } else {
        places.into_par_iter().map(one).collect()
    };
    results
        .into_iter()
        .try_fold(true, |all, one| Ok(one? && all))
}
