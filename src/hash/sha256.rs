//! SHA-256 (FIPS 180-4).

use sha2::Digest as _;

use crate::hash::Digest;

/// A message that comes in pieces.
#[derive(Debug, Clone, Default)]
pub struct Sha256(sha2::Sha256);

impl Sha256 {
    /// The hasher of an empty message.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends to the message.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The digest of the message so far, which can go on.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.0.clone().finalize().into()
    }
}

/// The digest of one message.
#[must_use]
pub fn digest(message: &[u8]) -> Digest {
    sha2::Sha256::digest(message).into()
}

/// The digests of many messages; both slices have the same length.
pub fn digest_many(messages: &[&[u8]], digests: &mut [Digest]) {
    for (message, place) in messages.iter().zip(digests) {
        *place = digest(message);
    }
}
