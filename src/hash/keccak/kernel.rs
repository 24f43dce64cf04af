//! Which instructions do the work.

use crate::{
    cpu::{self, Feature},
    hash::Digest,
};

use super::{
    Block, Padding, RATE,
    batch::Batch,
    permutation::{self, EMPTY, State},
};

/// A way to compute the hashes; all of them give the same digests.
///
/// On a CPU that lacks what a kernel needs, [`Kernel::Portable`] does its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// One message at a time, on any CPU.
    Portable,
    /// Two messages at a time, with the SHA-3 instructions of `AArch64`.
    Neon,
    /// Four messages at a time; one alone with the bit manipulation instructions that come along.
    Avx2,
    /// Eight messages at a time, and fewer in shorter registers, where a step takes 2/3 of the time.
    Avx512,
}

impl Kernel {
    /// All of them, the faster ones later.
    pub const ALL: [Self; 4] = [Self::Portable, Self::Neon, Self::Avx2, Self::Avx512];

    /// The fastest that this CPU has.
    #[must_use]
    pub fn best() -> Self {
        let found = Self::ALL.into_iter().rfind(|kernel| kernel.available());
        found.unwrap_or(Self::Portable)
    }

    /// Whether this CPU has what the kernel needs, and [`crate::cpu`] lets it be used.
    #[must_use]
    pub fn available(self) -> bool {
        match self {
            Self::Portable => true,
            Self::Neon => cpu::has(Feature::ArmSha3),
            Self::Avx2 => cpu::has(Feature::Avx2) && has_bit_manipulation(),
            Self::Avx512 => cpu::has(Feature::Avx512),
        }
    }

    /// The name of the kernel.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Neon => "neon",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// The digest of one message.
    #[must_use]
    pub fn digest(self, padding: Padding, message: &[u8]) -> Digest {
        let (blocks, rest) = message.as_chunks();
        let mut state = EMPTY;
        self.absorb(&mut state, blocks);
        let mut last = [0; RATE];
        padding.end(rest, &mut last);
        self.absorb(&mut state, &[last]);
        permutation::digest(&state, 0)
    }

    /// The digests of many messages, of as many as both slices have.
    pub fn digest_many(self, padding: Padding, messages: &[&[u8]], digests: &mut [Digest]) {
        let mut batch = Batch::new(padding, messages, digests);
        if self.available() {
            self.run_wide(&mut batch);
        }
        batch.run(0, |state, [blocks]| self.absorb(state, blocks));
    }

    /// Takes blocks into the state of one message. Without instructions for a single one, the scalar
    /// way is as fast as vectors with idle lanes.
    #[cfg_attr(
        target_arch = "x86_64",
        expect(unsafe_code, reason = "not on every CPU")
    )]
    pub(super) fn absorb(self, state: &mut State<1>, blocks: &[Block]) {
        match self {
            _ if blocks.is_empty() => {}
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `available` says that the CPU has the instructions.
            Self::Avx512 if self.available() => unsafe {
                super::x86::absorb_avx512(state, &[blocks]);
            },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `available` says that the CPU has the instructions.
            Self::Avx2 if self.available() => unsafe { super::x86::absorb_bmi(state, &[blocks]) },
            _ => permutation::absorb_portable(state, &[blocks]),
        }
    }

    /// Goes on with a batch as long as there are enough messages for vectors. The kernel is
    /// available.
    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code, reason = "instructions that not every CPU has")]
    fn run_wide(self, batch: &mut Batch<'_>) {
        use super::x86;

        match self {
            Self::Avx512 => {
                // SAFETY: the kernel is available: the CPU has the instructions.
                batch.run(4, |state, blocks| unsafe {
                    x86::absorb_8_avx512(state, blocks);
                });
                // SAFETY: as above.
                batch.run(1, |state, blocks| unsafe {
                    x86::absorb_4_avx512(state, blocks);
                });
            }
            Self::Avx2 => {
                // SAFETY: as above.
                batch.run(1, |state, blocks| unsafe {
                    x86::absorb_4_avx2(state, blocks);
                });
            }
            Self::Portable | Self::Neon => {}
        }
    }

    /// Goes on with a batch as long as there are enough messages for vectors. The kernel is
    /// available.
    #[cfg(target_arch = "aarch64")]
    #[expect(unsafe_code, reason = "instructions that not every CPU has")]
    fn run_wide(self, batch: &mut Batch<'_>) {
        if self == Self::Neon {
            // SAFETY: the kernel is available: the CPU has the instructions.
            batch.run(1, |state, blocks| unsafe {
                super::neon::absorb_2_sha3(state, blocks);
            });
        }
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn run_wide(self, _batch: &mut Batch<'_>) {}
}

/// Whether the CPU has BMI1 and BMI2.
#[cfg(target_arch = "x86_64")]
fn has_bit_manipulation() -> bool {
    is_x86_feature_detected!("bmi1") && is_x86_feature_detected!("bmi2")
}

#[cfg(not(target_arch = "x86_64"))]
const fn has_bit_manipulation() -> bool {
    false
}
