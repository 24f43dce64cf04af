//! Keccak-256 and SHA3-256: one sponge (FIPS 202, 3), two paddings.

use crate::hash::Digest;

/// Bytes that the sponge takes in at a time.
pub const RATE: usize = 136;

/// What tells the two hashes apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Padding {
    /// Keccak-256, as Ethereum has it.
    Keccak = 0x01,
    /// SHA3-256.
    Sha3 = 0x06,
}

/// A message that comes in pieces.
#[derive(Debug, Clone)]
pub struct Keccak {
    state: [u64; 25],
    /// Bytes of the current block that are in the state already.
    filled: usize,
    padding: Padding,
}

impl Keccak {
    /// The hasher of an empty message.
    #[must_use]
    pub const fn new(padding: Padding) -> Self {
        Self {
            state: [0; 25],
            filled: 0,
            padding,
        }
    }

    /// Appends to the message.
    pub fn update(&mut self, piece: &[u8]) {
        for &byte in piece {
            self.absorb(self.filled, byte);
            self.filled += 1;
            if self.filled == RATE {
                permute(&mut self.state);
                self.filled = 0;
            }
        }
    }

    /// The digest of the message so far, which can go on.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut last = self.clone();
        last.absorb(self.filled, self.padding as u8);
        last.absorb(RATE - 1, 0x80);
        permute(&mut last.state);
        let mut digest = [0; 32];
        for (place, word) in digest.chunks_exact_mut(8).zip(last.state) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        digest
    }

    fn absorb(&mut self, at: usize, byte: u8) {
        self.state[at / 8] ^= u64::from(byte) << (8 * (at % 8));
    }
}

/// The digest of one message.
#[must_use]
pub fn digest(padding: Padding, message: &[u8]) -> Digest {
    let mut hasher = Keccak::new(padding);
    hasher.update(message);
    hasher.digest()
}

/// The digests of many messages; both slices have the same length.
pub fn digest_many(padding: Padding, messages: &[&[u8]], digests: &mut [Digest]) {
    for (message, place) in messages.iter().zip(digests) {
        *place = digest(padding, message);
    }
}

/// Keccak-f[1600].
fn permute(state: &mut [u64; 25]) {
    const ROTATIONS: [u32; 24] = [
        1, 3, 6, 10, 15, 21, 28, 36, 45, 55, 2, 14, 27, 41, 56, 8, 25, 43, 62, 18, 39, 61, 20, 44,
    ];
    const LANES: [usize; 24] = [
        10, 7, 11, 17, 18, 3, 5, 16, 8, 21, 24, 4, 15, 23, 19, 13, 12, 2, 20, 14, 22, 9, 6, 1,
    ];
    let mut register = 1_u8;
    for _ in 0..24 {
        let mut column = [0; 5];
        for x in 0..5 {
            column[x] = (0..5).fold(0, |sum, y| sum ^ state[x + 5 * y]);
        }
        for (at, lane) in state.iter_mut().enumerate() {
            *lane ^= column[(at + 4) % 5] ^ column[(at + 1) % 5].rotate_left(1);
        }
        let mut moving = state[1];
        for (lane, rotation) in LANES.into_iter().zip(ROTATIONS) {
            moving = std::mem::replace(&mut state[lane], moving.rotate_left(rotation));
        }
        for row in state.chunks_exact_mut(5) {
            let old = [row[0], row[1], row[2], row[3], row[4]];
            for x in 0..5 {
                row[x] = old[x] ^ (!old[(x + 1) % 5] & old[(x + 2) % 5]);
            }
        }
        for bit in 0..7 {
            if register & 1 == 1 {
                state[0] ^= 1 << ((1 << bit) - 1);
            }
            let carry = register >> 7;
            register = (register << 1) ^ (carry * 0x71);
        }
    }
}
