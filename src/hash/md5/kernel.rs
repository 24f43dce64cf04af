//! Which instructions do the work.
#![expect(
    unsafe_code,
    reason = "kernels need instructions that not every CPU has, and read blocks by pointer"
)]

use std::ptr;

use super::{Digest, State, batch, lanes};
use crate::{
    cpu::{self, Feature},
    error::Result,
    hash::vector::{MAX_LANES, Places, Sources},
    pool::Cancel,
};

/// A way to compute the hashes of many messages; all of them give the same digests.
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
    ///
    /// # Errors
    /// [`crate::Error::Interrupted`], with some of the digests made.
    pub fn digest_many(
        self,
        messages: &[&[u8]],
        digests: &mut [Digest],
        cancel: &Cancel,
    ) -> Result<()> {
        let kernel = if self.available() { self } else { Self::Scalar };
        // SAFETY: the kernel is available.
        unsafe { batch::digest_many(kernel, messages, digests, cancel) }
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
    const fn worth(self) -> usize {
        match self {
            Self::Scalar => usize::MAX,
            Self::Sse41 | Self::Neon | Self::Avx2 => 2,
            Self::Avx512 => 1,
        }
    }

    /// Takes `count` blocks of each message in. There are as many states as sources, at least one
    /// and not more than [`Kernel::lanes`].
    ///
    /// # Safety
    /// The kernel is available; each source has `count` blocks.
    pub(super) unsafe fn compress(self, states: &mut [State], sources: &[&[u8]], count: usize) {
        debug_assert!(states.len() == sources.len() && states.len() <= self.lanes());
        if states.len() < self.worth() {
            for (state, source) in states.iter_mut().zip(sources) {
                let places = [ptr::from_mut(state).cast(); MAX_LANES];
                let pointers = [source.as_ptr(); MAX_LANES];
                // SAFETY: plain registers; the caller has promised the blocks.
                unsafe { lanes::compress::<u32>(&places, &pointers, count) };
            }
            return;
        }
        // A lane that nobody is in computes the first message once more, into the spare state.
        let mut spare = State::default();
        let mut places: Places = [ptr::from_mut(&mut spare).cast(); MAX_LANES];
        let mut pointers: Sources = [sources[0].as_ptr(); MAX_LANES];
        for ((place, pointer), (state, source)) in places
            .iter_mut()
            .zip(&mut pointers)
            .zip(states.iter_mut().zip(sources))
        {
            *place = ptr::from_mut(state).cast();
            *pointer = source.as_ptr();
        }
        // SAFETY: the caller has promised the instructions and the blocks; each lane has a state.
        unsafe {
            match self {
                #[cfg(target_arch = "x86_64")]
                Self::Sse41 => lanes::compress_sse41(&places, &pointers, count),
                #[cfg(target_arch = "x86_64")]
                Self::Avx2 => lanes::compress_avx2(&places, &pointers, count),
                #[cfg(target_arch = "x86_64")]
                Self::Avx512 => lanes::compress_avx512(&places, &pointers, count),
                #[cfg(target_arch = "aarch64")]
                Self::Neon => lanes::compress_neon(&places, &pointers, count),
                // No such kernel is available here, and the scalar one is not worth its lanes.
                _ => lanes::compress::<u32>(&places, &pointers, count),
            }
        }
    }
}
