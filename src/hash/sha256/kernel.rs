//! Which instructions do the work.

use super::{batch, engine::Engine};
use crate::{
    cpu::{self, Feature},
    hash::Digest,
};

/// A way to compute the hash; all of them give the same digests.
///
/// On a CPU that lacks what a kernel needs, [`Kernel::Scalar`] does its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// Plain registers, one message at a time.
    Scalar,
    /// The SHA instructions of x86, up to three messages at a time.
    ShaNi,
    /// AVX2, eight messages at a time; of fewer, eight blocks of one message as far as they go.
    Avx2,
    /// AVX-512, sixteen messages at a time; fewer as [`Kernel::ShaNi`] or [`Kernel::Avx2`].
    Avx512,
    /// The SHA-256 instructions of `AArch64`, up to two messages at a time.
    ArmSha2,
}

impl Kernel {
    /// All of them, the faster ones for many messages later.
    pub const ALL: [Self; 5] = [
        Self::Scalar,
        Self::Avx2,
        Self::ArmSha2,
        Self::ShaNi,
        Self::Avx512,
    ];

    /// The name of the kernel.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::ShaNi => "sha-ni",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::ArmSha2 => "sha2",
        }
    }

    /// Whether this CPU has what the kernel needs, and [`crate::cpu`] lets it be used.
    #[must_use]
    pub fn available(self) -> bool {
        match self {
            Self::Scalar => true,
            Self::ShaNi => cpu::has(Feature::Sha),
            Self::Avx2 => cpu::has(Feature::Avx2),
            Self::Avx512 => cpu::has(Feature::Avx512),
            Self::ArmSha2 => cpu::has(Feature::ArmSha2),
        }
    }

    /// The fastest that this CPU has, for many messages.
    #[must_use]
    pub fn best() -> Self {
        let found = Self::ALL.into_iter().rfind(|kernel| kernel.available());
        found.unwrap_or(Self::Scalar)
    }

    /// The digest of one message.
    #[must_use]
    pub fn digest(self, message: &[u8]) -> Digest {
        Engine::new(self).digest(message)
    }

    /// The digests of many messages, of as many as both slices have.
    pub fn digest_many(self, messages: &[&[u8]], digests: &mut [Digest]) {
        batch::digest_many(Engine::new(self), messages, digests);
    }
}
