//! Many messages at once: which one is in which lane.
#![expect(
    unsafe_code,
    reason = "kernels need instructions that not every CPU has, and read blocks by pointer"
)]

use super::{BLOCK_LEN, Digest, INITIAL, State, kernel::Kernel};
use crate::{error::Result, hash::vector::MAX_LANES, pool::Cancel};

/// Blocks between two looks at the request to stop: a few milliseconds.
const STRIDE: usize = (1 << 20) / BLOCK_LEN;
/// The byte after the message: RFC 1321, 3.1.
const MARK: u8 = 0x80;
/// From this place on the last block holds the length of the message in bits: RFC 1321, 3.2.
const LENGTH_AT: usize = 56;

/// The digests of many messages, of as many as both slices have.
///
/// # Errors
/// [`crate::Error::Interrupted`], with some of the digests made.
///
/// # Safety
/// The kernel is available.
pub(super) unsafe fn digest_many(
    kernel: Kernel,
    messages: &[&[u8]],
    digests: &mut [Digest],
    cancel: &Cancel,
) -> Result<()> {
    let mut waiting = messages.iter().zip(digests);
    let mut lanes: Vec<Lane<'_>> = Vec::with_capacity(kernel.lanes());
    let mut states: Vec<State> = Vec::with_capacity(kernel.lanes());
    loop {
        let free = kernel.lanes() - lanes.len();
        for (message, digest) in waiting.by_ref().take(free) {
            lanes.push(Lane::new(message, digest));
            states.push(INITIAL);
        }
        if lanes.is_empty() {
            return Ok(());
        }
        cancel.check()?;
        let mut sources: [&[u8]; MAX_LANES] = [&[]; MAX_LANES];
        let mut count = STRIDE;
        for (source, lane) in sources.iter_mut().zip(&lanes) {
            *source = lane.blocks();
            count = count.min(source.len() / BLOCK_LEN);
        }
        // SAFETY: the caller has promised the instructions; no source has fewer blocks.
        unsafe { kernel.compress(&mut states, &sources[..lanes.len()], count) };
        // From the last on: whoever moves to the place of one that is done was looked at before.
        for at in (0..lanes.len()).rev() {
            if lanes[at].skip(count) {
                let state = states.swap_remove(at);
                write_digest(lanes.swap_remove(at).digest, &state);
            }
        }
    }
}

fn write_digest(digest: &mut Digest, state: &State) {
    for (place, word) in digest.chunks_exact_mut(4).zip(state) {
        place.copy_from_slice(&word.to_le_bytes());
    }
}

/// A message on its way.
struct Lane<'a> {
    /// Its whole blocks, without those that were taken in.
    body: &'a [u8],
    /// What comes after them.
    tail: [u8; 2 * BLOCK_LEN],
    /// The part of the tail that was not taken in.
    left: (usize, usize),
    digest: &'a mut Digest,
}

impl<'a> Lane<'a> {
    fn new(message: &'a [u8], digest: &'a mut Digest) -> Self {
        let (body, rest) = message.split_at(message.len() - message.len() % BLOCK_LEN);
        let mut tail = [0; 2 * BLOCK_LEN];
        tail[..rest.len()].copy_from_slice(rest);
        tail[rest.len()] = MARK;
        let end = if rest.len() < LENGTH_AT {
            BLOCK_LEN
        } else {
            2 * BLOCK_LEN
        };
        let bits = (message.len() as u64).wrapping_mul(8);
        tail[end - 8..end].copy_from_slice(&bits.to_le_bytes());
        Self {
            body,
            tail,
            left: (0, end),
            digest,
        }
    }

    /// The blocks to take in next, at least one.
    fn blocks(&self) -> &[u8] {
        if self.body.is_empty() {
            &self.tail[self.left.0..self.left.1]
        } else {
            self.body
        }
    }

    /// Moves on by `count` of [`Lane::blocks`]; whether the message is done.
    fn skip(&mut self, count: usize) -> bool {
        if self.body.is_empty() {
            self.left.0 += count * BLOCK_LEN;
            self.left.0 == self.left.1
        } else {
            self.body = &self.body[count * BLOCK_LEN..];
            false
        }
    }
}
