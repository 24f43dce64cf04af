//! Hashes: BLAKE3, SHA-256, Keccak-256, SHA3-256; one message, a stream, or many messages at once.
//!
//! A hash is serial within a message (BLAKE3 excepted), so one short message leaves most of a CPU
//! idle. [`digest_many`] fills it: several messages advance side by side, one per SIMD lane, or
//! interleaved where the CPU has instructions for the hash. Digests never depend on the kernel or
//! on the number of threads.

pub mod blake3;
pub mod file;
pub mod keccak;
pub mod md5;
pub mod named;
pub mod sha256;
mod vector;

use rayon::prelude::*;

use crate::{
    error::Result,
    pool::{self, Cancel},
};

/// Bytes of every digest of [`Algorithm`].
pub const DIGEST_LEN: usize = 32;

/// What the algorithms give.
pub type Digest = [u8; DIGEST_LEN];

/// Bytes of one task of [`digest_many_parallel`], so that a task outweighs its scheduling by far.
const TASK_LEN: usize = 64 << 10;
/// A message costs as much as this many bytes, however short it is.
const MESSAGE_COST: usize = 64;

/// A hash with a digest of 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// SHA-256 (FIPS 180-4).
    Sha256,
    /// BLAKE3 in its plain mode, the first 32 bytes.
    Blake3,
    /// Keccak-256 as Ethereum has it: padding starts with 0x01.
    Keccak256,
    /// SHA3-256 (FIPS 202): padding starts with 0x06.
    Sha3_256,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Sha256, Self::Blake3, Self::Keccak256, Self::Sha3_256];

    /// The name that Python callers use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Blake3 => "blake3",
            Self::Keccak256 => "keccak256",
            Self::Sha3_256 => "sha3_256",
        }
    }

    /// The algorithm of that name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// Bytes that the algorithm takes in at a time: HMAC's block size.
    #[must_use]
    pub const fn block_len(self) -> usize {
        match self {
            Self::Sha256 | Self::Blake3 => 64,
            Self::Keccak256 | Self::Sha3_256 => keccak::RATE,
        }
    }
}

/// The digest of one message, on this thread; BLAKE3 of a long message uses the threads of the pool
/// that this runs in.
#[must_use]
pub fn digest(algorithm: Algorithm, message: &[u8]) -> Digest {
    match algorithm {
        Algorithm::Sha256 => sha256::digest(message),
        Algorithm::Blake3 => blake3::digest(message),
        Algorithm::Keccak256 => keccak::digest(keccak::Padding::Keccak, message),
        Algorithm::Sha3_256 => keccak::digest(keccak::Padding::Sha3, message),
    }
}

/// The digests of many messages, side by side on this thread; `digests[i]` is that of `messages[i]`.
///
/// Only the pairs that both slices have are made.
pub fn digest_many(algorithm: Algorithm, messages: &[&[u8]], digests: &mut [Digest]) {
    let len = messages.len().min(digests.len());
    let (messages, digests) = (&messages[..len], &mut digests[..len]);
    match algorithm {
        Algorithm::Sha256 => sha256::digest_many(messages, digests),
        Algorithm::Blake3 => blake3::digest_many(messages, digests),
        Algorithm::Keccak256 => keccak::digest_many(keccak::Padding::Keccak, messages, digests),
        Algorithm::Sha3_256 => keccak::digest_many(keccak::Padding::Sha3, messages, digests),
    }
}

/// As [`digest_many`], on the threads of the pool that this runs in.
///
/// # Errors
/// [`crate::Error::Interrupted`].
pub fn digest_many_parallel(
    algorithm: Algorithm,
    messages: &[&[u8]],
    digests: &mut [Digest],
    cancel: &Cancel,
) -> Result<()> {
    let mut tasks = Vec::new();
    let mut rest = (messages, digests);
    while !rest.0.is_empty() && !rest.1.is_empty() {
        let count = task_len(rest.0).min(rest.1.len());
        let (messages, later_messages) = rest.0.split_at(count);
        let (digests, later_digests) = rest.1.split_at_mut(count);
        tasks.push((messages, digests));
        rest = (later_messages, later_digests);
    }
    let work = |(messages, digests): (&[&[u8]], &mut [Digest])| {
        cancel.check()?;
        digest_many(algorithm, messages, digests);
        Ok(())
    };
    if pool::workers() < 2 {
        tasks.into_iter().try_for_each(work)
    } else {
        tasks.into_par_iter().try_for_each(work)
    }
}

/// How many of `messages`, from the first on, make one task.
fn task_len(messages: &[&[u8]]) -> usize {
    let mut bytes = 0;
    let end = messages.iter().position(|message| {
        bytes += message.len() + MESSAGE_COST;
        bytes > TASK_LEN
    });
    end.map_or(messages.len(), |last| last + 1)
}

/// A message that comes in pieces.
#[derive(Debug, Clone)]
pub enum Hasher {
    /// SHA-256.
    Sha256(sha256::Sha256),
    /// BLAKE3 in any of its modes.
    Blake3(Box<blake3::Blake3>),
    /// Keccak-256 and SHA3-256.
    Keccak(keccak::Keccak),
}

impl Hasher {
    /// The hasher of an empty message.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(sha256::Sha256::new()),
            Algorithm::Blake3 => Self::Blake3(Box::new(blake3::Blake3::new(&blake3::Mode::Plain))),
            Algorithm::Keccak256 => Self::Keccak(keccak::Keccak::new(keccak::Padding::Keccak)),
            Algorithm::Sha3_256 => Self::Keccak(keccak::Keccak::new(keccak::Padding::Sha3)),
        }
    }

    /// Appends to the message.
    pub fn update(&mut self, piece: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(piece),
            Self::Blake3(hasher) => hasher.update(piece),
            Self::Keccak(hasher) => hasher.update(piece),
        }
    }

    /// The digest of the message so far, which can go on.
    #[must_use]
    pub fn digest(&self) -> Digest {
        match self {
            Self::Sha256(hasher) => hasher.digest(),
            Self::Blake3(hasher) => hasher.digest(),
            Self::Keccak(hasher) => hasher.digest(),
        }
    }
}
