//! BLAKE3: tree hash with keyed mode, key derivation and output of any length.
//!
//! One message at a time is the blake3 crate's. [`digest_many`] has lanes of its own (`lanes`) for
//! messages too short to fill the lanes of a vector by themselves, and collects those that can go
//! side by side (`batch`).

mod batch;
mod kernel;
mod lanes;

pub use kernel::Kernel;

use crate::{hash::Digest, pool};

/// From this many bytes on several threads share one message.
const PARALLEL_FROM: usize = 128 << 10;

/// Bytes that the compression function takes in.
const BLOCK_LEN: usize = 64;
/// Bytes of a leaf of the tree.
const CHUNK_LEN: usize = 1024;

/// What is hashed, and with which key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// The plain hash.
    Plain,
    /// A message authentication code under a key of 32 bytes.
    Keyed([u8; 32]),
    /// A key derived from the message; the context is a constant of the application.
    DeriveKey(String),
}

/// A BLAKE3 message that comes in pieces.
#[derive(Debug, Clone)]
pub struct Blake3(::blake3::Hasher);

impl Blake3 {
    /// The hasher of an empty message.
    #[must_use]
    pub fn new(mode: &Mode) -> Self {
        Self(match mode {
            Mode::Plain => ::blake3::Hasher::new(),
            Mode::Keyed(key) => ::blake3::Hasher::new_keyed(key),
            Mode::DeriveKey(context) => ::blake3::Hasher::new_derive_key(context),
        })
    }

    /// Appends to the message, on the threads of the pool that this runs in where that pays.
    pub fn update(&mut self, piece: &[u8]) {
        if piece.len() >= PARALLEL_FROM && pool::workers() > 1 {
            self.0.update_rayon(piece);
        } else {
            self.0.update(piece);
        }
    }

    /// The first 32 bytes of output.
    #[must_use]
    pub fn digest(&self) -> Digest {
        *self.0.finalize().as_bytes()
    }

    /// Fills `output` with the bytes of the output from `seek` on.
    pub fn read(&self, output: &mut [u8], seek: u64) {
        let mut reader = self.0.finalize_xof();
        reader.set_position(seek);
        reader.fill(output);
    }
}

/// The digest of one message.
#[must_use]
pub fn digest(message: &[u8]) -> Digest {
    if message.len() >= PARALLEL_FROM && pool::workers() > 1 {
        let mut hasher = ::blake3::Hasher::new();
        hasher.update_rayon(message);
        return *hasher.finalize().as_bytes();
    }
    *::blake3::hash(message).as_bytes()
}

/// The digests of many messages, of as many as both slices have.
pub fn digest_many(messages: &[&[u8]], digests: &mut [Digest]) {
    Kernel::best().digest_many(messages, digests);
}
