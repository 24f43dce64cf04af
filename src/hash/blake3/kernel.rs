//! Which instructions do the work for batches of short messages.
#![expect(
    unsafe_code,
    reason = "kernels need instructions that not every CPU has, and read messages by pointer"
)]

use super::{
    BLOCK_LEN, CHUNK_LEN, batch,
    lanes::{self, Group},
};
use crate::{
    cpu::{self, Feature},
    hash::{Digest, vector::MAX_LANES},
};

/// A way to compute the hashes of many short messages; all of them give the same digests.
///
/// On a CPU that lacks what a kernel needs, [`Kernel::Scalar`] does its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// Plain registers, one message at a time.
    Scalar,
    /// SSE4.1, four messages at a time.
    Sse41,
    /// AVX2, eight messages at a time.
    Avx2,
    /// AVX-512, sixteen messages at a time.
    Avx512,
    /// NEON, four messages at a time.
    Neon,
}

impl Kernel {
    /// All of them, the faster ones later.
    pub const ALL: [Self; 5] = [
        Self::Scalar,
        Self::Neon,
        Self::Sse41,
        Self::Avx2,
        Self::Avx512,
    ];

    /// The name of the kernel.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Sse41 => "sse4.1",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Neon => "neon",
        }
    }

    /// Whether this CPU has what the kernel needs, and [`crate::cpu`] lets it be used.
    #[must_use]
    pub fn available(self) -> bool {
        match self {
            Self::Scalar => true,
            Self::Sse41 => cpu::has(Feature::Ssse3),
            Self::Avx2 => cpu::has(Feature::Avx2),
            Self::Avx512 => cpu::has(Feature::Avx512),
            Self::Neon => cpu::has(Feature::Neon),
        }
    }

    /// The fastest that this CPU has.
    #[must_use]
    pub fn best() -> Self {
        let found = Self::ALL.into_iter().rfind(|kernel| kernel.available());
        found.unwrap_or(Self::Scalar)
    }

    /// The digests of many messages, of as many as both slices have.
    pub fn digest_many(self, messages: &[&[u8]], digests: &mut [Digest]) {
        let kernel = if self.available() { self } else { Self::Scalar };
        // SAFETY: the kernel is available.
        unsafe { batch::digest_many(kernel, messages, digests) };
    }

    /// How many messages it takes at a time.
    pub(super) const fn lanes(self) -> usize {
        match self {
            Self::Scalar => 1,
            Self::Sse41 | Self::Neon => 4,
            Self::Avx2 => 8,
            Self::Avx512 => 16,
        }
    }

    /// From how many messages on lanes are faster than one message after the other.
    pub(super) const fn worth(self) -> usize {
        match self {
            Self::Scalar => 1,
            Self::Sse41 | Self::Neon => 2,
            Self::Avx2 | Self::Avx512 => 3,
        }
    }

    /// The digests of some of the messages, not more than the kernel has lanes.
    ///
    /// # Safety
    /// The kernel is available, and each of these messages has `blocks` blocks.
    pub(super) unsafe fn digest_group(
        self,
        blocks: usize,
        indices: impl Iterator<Item = usize>,
        messages: &[&[u8]],
        digests: &mut [Digest],
    ) {
        /// What lanes without a message hash.
        static NOTHING: [u8; CHUNK_LEN] = [0; CHUNK_LEN];
        let mut nowhere = [0; 32];
        let mut group = Group {
            sources: [NOTHING.as_ptr(); MAX_LANES],
            last_lens: [BLOCK_LEN as u32; MAX_LANES],
            blocks,
            digests: [nowhere.as_mut_ptr(); MAX_LANES],
        };
        for (lane, index) in indices.take(MAX_LANES).enumerate() {
            let message = messages[index];
            group.sources[lane] = message.as_ptr();
            group.last_lens[lane] = (message.len() - (blocks - 1) * BLOCK_LEN) as u32;
            group.digests[lane] = digests[index].as_mut_ptr();
        }
        // SAFETY: the caller has promised the instructions, and the blocks of the messages.
        unsafe {
            match self {
                #[cfg(target_arch = "x86_64")]
                Self::Sse41 => lanes::digest_group_sse41(&group),
                #[cfg(target_arch = "x86_64")]
                Self::Avx2 => lanes::digest_group_avx2(&group),
                #[cfg(target_arch = "x86_64")]
                Self::Avx512 => lanes::digest_group_avx512(&group),
                #[cfg(target_arch = "aarch64")]
                Self::Neon => lanes::digest_group_neon(&group),
                _ => lanes::digest_group::<u32>(&group),
            }
        }
    }
}
