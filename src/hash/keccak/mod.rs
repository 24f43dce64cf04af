//! Keccak-256 and SHA3-256: one sponge (FIPS 202, 4), two paddings.
//!
//! A message is a chain of permutations, each of which needs the one before: nothing within it can
//! run in parallel. Many messages advance side by side, one per lane of a vector register; a lane
//! whose message has ended takes the next one.

mod batch;
mod kernel;
#[cfg(target_arch = "aarch64")]
mod neon;
mod permutation;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use kernel::Kernel;

use crate::hash::Digest;
use permutation::State;

/// Bytes that the sponge takes in at a time.
pub const RATE: usize = 136;

/// What the sponge takes in at a time.
type Block = [u8; RATE];

/// What tells the two hashes apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Padding {
    /// Keccak-256, as Ethereum has it.
    Keccak = 0x01,
    /// SHA3-256.
    Sha3 = 0x06,
}

impl Padding {
    /// Makes the last block of a message, of which `rest`, less than a block, is left.
    ///
    /// In place: a block that is copied right after single bytes were written has to wait for them.
    fn end(self, rest: &[u8], block: &mut Block) {
        *block = [0; RATE];
        block[..rest.len()].copy_from_slice(rest);
        block[rest.len()] = self as u8;
        block[RATE - 1] |= 0x80;
    }
}

/// A block of zeros but for `bytes`, which stand from `at` on.
fn part_of_block(bytes: &[u8], at: usize) -> Block {
    let mut block = [0; RATE];
    block[at..at + bytes.len()].copy_from_slice(bytes);
    block
}

/// A message that comes in pieces.
#[derive(Debug, Clone)]
pub struct Keccak {
    state: State<1>,
    /// Bytes of the current block that are in the state already, always less than a block.
    filled: usize,
    padding: Padding,
}

impl Keccak {
    /// The hasher of an empty message.
    #[must_use]
    pub const fn new(padding: Padding) -> Self {
        Self {
            state: permutation::EMPTY,
            filled: 0,
            padding,
        }
    }

    /// Appends to the message.
    pub fn update(&mut self, mut piece: &[u8]) {
        let kernel = Kernel::best();
        let room = RATE - self.filled;
        if self.filled > 0 && piece.len() >= room {
            let (head, rest) = piece.split_at(room);
            kernel.absorb(&mut self.state, &[part_of_block(head, self.filled)]);
            self.filled = 0;
            piece = rest;
        }
        if self.filled == 0 {
            let (blocks, rest) = piece.as_chunks();
            kernel.absorb(&mut self.state, blocks);
            piece = rest;
        }
        if !piece.is_empty() {
            permutation::mix(&mut self.state, &part_of_block(piece, self.filled));
            self.filled += piece.len();
        }
    }

    /// The digest of the message so far, which can go on.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut state = self.state;
        let mut last = [0; RATE];
        last[self.filled] = self.padding as u8;
        last[RATE - 1] |= 0x80;
        Kernel::best().absorb(&mut state, &[last]);
        permutation::digest(&state, 0)
    }
}

/// The digest of one message.
#[must_use]
pub fn digest(padding: Padding, message: &[u8]) -> Digest {
    Kernel::best().digest(padding, message)
}

/// The digests of many messages; both slices have the same length.
pub fn digest_many(padding: Padding, messages: &[&[u8]], digests: &mut [Digest]) {
    Kernel::best().digest_many(padding, messages, digests);
}
