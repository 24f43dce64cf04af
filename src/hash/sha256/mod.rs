//! SHA-256 (FIPS 180-4).
//!
//! A message is a chain of compressions, each of which needs the one before: even the instructions
//! for it leave a CPU idle most of the time. Many messages advance side by side, interleaved or one
//! per lane of a vector register; a lane whose message has ended takes the next one.
//!
//! ```text
//! kernel            the ways to compute the hash, by name
//! batch             many messages: which one is in which lane
//! engine            from messages to the kernel that suits their number
//! padding           how messages end
//! shani arm lanes   the compression function: SHA instructions, vectors and plain registers
//! ```

#[cfg(target_arch = "aarch64")]
mod arm;
mod batch;
mod engine;
mod kernel;
mod lanes;
mod padding;
#[cfg(target_arch = "x86_64")]
mod shani;

pub use kernel::Kernel;

use crate::hash::Digest;
use engine::Engine;

/// Bytes that the hash takes in at a time.
const BLOCK_LEN: usize = 64;

/// The hash value between two blocks: words a to h.
type State = [u32; 8];
/// The words of a block for all 64 rounds, each with the constant of its round added.
type Schedule = [u32; 64];

/// The hash value before the first block: FIPS 180-4, 5.3.3.
const INITIAL: State = [
    0x6A09_E667,
    0xBB67_AE85,
    0x3C6E_F372,
    0xA54F_F53A,
    0x510E_527F,
    0x9B05_688C,
    0x1F83_D9AB,
    0x5BE0_CD19,
];

/// FIPS 180-4, 4.2.2.
#[rustfmt::skip]
const ROUND_CONSTANTS: [u32; 64] = [
    0x428A_2F98, 0x7137_4491, 0xB5C0_FBCF, 0xE9B5_DBA5, 0x3956_C25B, 0x59F1_11F1, 0x923F_82A4, 0xAB1C_5ED5,
    0xD807_AA98, 0x1283_5B01, 0x2431_85BE, 0x550C_7DC3, 0x72BE_5D74, 0x80DE_B1FE, 0x9BDC_06A7, 0xC19B_F174,
    0xE49B_69C1, 0xEFBE_4786, 0x0FC1_9DC6, 0x240C_A1CC, 0x2DE9_2C6F, 0x4A74_84AA, 0x5CB0_A9DC, 0x76F9_88DA,
    0x983E_5152, 0xA831_C66D, 0xB003_27C8, 0xBF59_7FC7, 0xC6E0_0BF3, 0xD5A7_9147, 0x06CA_6351, 0x1429_2967,
    0x27B7_0A85, 0x2E1B_2138, 0x4D2C_6DFC, 0x5338_0D13, 0x650A_7354, 0x766A_0ABB, 0x81C2_C92E, 0x9272_2C85,
    0xA2BF_E8A1, 0xA81A_664B, 0xC24B_8B70, 0xC76C_51A3, 0xD192_E819, 0xD699_0624, 0xF40E_3585, 0x106A_A070,
    0x19A4_C116, 0x1E37_6C08, 0x2748_774C, 0x34B0_BCB5, 0x391C_0CB3, 0x4ED8_AA4A, 0x5B9C_CA4F, 0x682E_6FF3,
    0x748F_82EE, 0x78A5_636F, 0x84C8_7814, 0x8CC7_0208, 0x90BE_FFFA, 0xA450_6CEB, 0xBEF9_A3F7, 0xC671_78F2,
];

/// A message that comes in pieces.
#[derive(Debug, Clone)]
pub struct Sha256 {
    engine: Engine,
    state: State,
    /// The start of the next block: as many bytes as `len` is above a multiple of the block length.
    block: [u8; BLOCK_LEN],
    len: u64,
}

impl Sha256 {
    /// The hasher of an empty message.
    #[must_use]
    pub fn new() -> Self {
        Self::with_kernel(Kernel::best())
    }

    /// As [`Sha256::new`], with one kernel; the scalar one if the CPU does not have it.
    #[must_use]
    pub fn with_kernel(kernel: Kernel) -> Self {
        Self {
            engine: Engine::new(kernel),
            state: INITIAL,
            block: [0; BLOCK_LEN],
            len: 0,
        }
    }

    /// Appends to the message.
    pub fn update(&mut self, mut piece: &[u8]) {
        let filled = self.filled();
        self.len = self.len.wrapping_add(piece.len() as u64);
        if filled > 0 {
            let (head, rest) = piece.split_at(piece.len().min(BLOCK_LEN - filled));
            self.block[filled..filled + head.len()].copy_from_slice(head);
            if filled + head.len() < BLOCK_LEN {
                return;
            }
            self.engine.compress(&mut self.state, &self.block);
            piece = rest;
        }
        let (blocks, rest) = piece.split_at(piece.len() - piece.len() % BLOCK_LEN);
        self.engine.compress(&mut self.state, blocks);
        self.block[..rest.len()].copy_from_slice(rest);
    }

    /// The digest of the message so far, which can go on.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut tail = [0; 2 * BLOCK_LEN];
        let end = padding::pad(&mut tail, &self.block[..self.filled()], self.len);
        let mut state = self.state;
        self.engine.compress(&mut state, &tail[..end]);
        to_digest(&state)
    }

    fn filled(&self) -> usize {
        self.len as usize % BLOCK_LEN
    }
}

impl Default for Sha256 {
    fn default() -> Self {
        Self::new()
    }
}

/// The digest of one message.
#[must_use]
pub fn digest(message: &[u8]) -> Digest {
    Kernel::best().digest(message)
}

/// The digests of many messages, of as many as both slices have.
pub fn digest_many(messages: &[&[u8]], digests: &mut [Digest]) {
    Kernel::best().digest_many(messages, digests);
}

fn to_digest(state: &State) -> Digest {
    let mut digest = [0; 32];
    for (place, word) in digest.chunks_exact_mut(4).zip(state) {
        place.copy_from_slice(&word.to_be_bytes());
    }
    digest
}
