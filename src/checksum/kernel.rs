//! The kernels by name, and which of them runs.

#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
use super::aarch64 as native;
use super::portable;
#[cfg(target_arch = "x86_64")]
use super::x86 as native;
use crate::cpu::{Feature, has};

/// Up to this, one stream of checksum instructions is as fast as anything, on every CPU.
const SHORT: usize = 256;

/// The kernels of this architecture, the slowest first. Each needs its feature, and those before it.
#[cfg(target_arch = "x86_64")]
const FAMILY: [(Kernel, Feature); 4] = [
    (Kernel::Sse42, Feature::Sse42),
    (Kernel::Pclmulqdq, Feature::Pclmulqdq),
    (Kernel::Vpclmulqdq, Feature::Vpclmulqdq),
    (Kernel::Avx512, Feature::Avx512),
];
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
const FAMILY: [(Kernel, Feature); 2] = [
    (Kernel::ArmCrc, Feature::ArmCrc),
    (Kernel::ArmPmull, Feature::ArmPmull),
];
#[cfg(not(any(
    target_arch = "x86_64",
    all(target_arch = "aarch64", target_endian = "little")
)))]
const FAMILY: [(Kernel, Feature); 0] = [];

/// One way to compute CRC32C. All give the same checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// Tables; on every CPU.
    Portable,
    /// The `crc32` instruction of SSE4.2, three streams of it.
    Sse42,
    /// SSE4.2 and PCLMULQDQ at the same time.
    Pclmulqdq,
    /// SSE4.2 and VPCLMULQDQ on 256 bits at the same time; no AVX-512.
    Vpclmulqdq,
    /// SSE4.2 and VPCLMULQDQ on 512 bits at the same time.
    Avx512,
    /// The CRC32 instructions of `AArch64`, three streams of them.
    ArmCrc,
    /// The CRC32 and PMULL instructions of `AArch64` at the same time.
    ArmPmull,
}

impl Kernel {
    /// All of them, the slowest first.
    pub const ALL: [Self; 7] = [
        Self::Portable,
        Self::Sse42,
        Self::Pclmulqdq,
        Self::Vpclmulqdq,
        Self::Avx512,
        Self::ArmCrc,
        Self::ArmPmull,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Sse42 => "sse4.2",
            Self::Pclmulqdq => "pclmulqdq",
            Self::Vpclmulqdq => "vpclmulqdq",
            Self::Avx512 => "avx512",
            Self::ArmCrc => "crc",
            Self::ArmPmull => "pmull",
        }
    }

    /// Those that the CPU has, and that [`crate::cpu`] allows, the slowest first.
    pub fn available() -> impl Iterator<Item = Self> {
        let native = FAMILY.iter().take_while(|(_, feature)| has(*feature));
        std::iter::once(Self::Portable).chain(native.map(|(kernel, _)| *kernel))
    }

    /// The one that [`super::crc32c`] uses for all but short inputs.
    #[must_use]
    pub fn best() -> Self {
        Self::available().last().unwrap_or(Self::Portable)
    }

    /// As [`super::crc32c`], by this kernel; by [`Kernel::Portable`] where it is not available.
    #[must_use]
    pub fn crc32c(self, data: &[u8], init: u32) -> u32 {
        let found = Self::available().find(|kernel| *kernel == self);
        !found.unwrap_or(Self::Portable).run(data, !init)
    }

    /// The state after `data`. To be called on what [`Kernel::available`] has given.
    #[allow(
        unsafe_code,
        reason = "instructions that not every CPU has; on some architectures there are none"
    )]
    fn run(self, data: &[u8], state: u32) -> u32 {
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: available means that the CPU has its features, and those of all before it.
            Self::Sse42 => unsafe { native::sse42(data, state) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Self::Pclmulqdq => unsafe { native::pclmulqdq(data, state) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Self::Vpclmulqdq => unsafe { native::vpclmulqdq(data, state) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Self::Avx512 => unsafe { native::avx512(data, state) },
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            // SAFETY: as above.
            Self::ArmCrc => unsafe { native::crc(data, state) },
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            // SAFETY: as above.
            Self::ArmPmull => unsafe { native::pmull(data, state) },
            _ => portable::update(data, state),
        }
    }
}

/// The state after `data`, by the best kernel for its length.
#[inline]
pub fn update(data: &[u8], state: u32) -> u32 {
    if data.len() <= SHORT {
        short(data, state)
    } else {
        Kernel::best().run(data, state)
    }
}

#[cfg(any(
    target_arch = "x86_64",
    all(target_arch = "aarch64", target_endian = "little")
))]
#[expect(unsafe_code, reason = "instructions that not every CPU has")]
fn short(data: &[u8], state: u32) -> u32 {
    if has(FAMILY[0].1) {
        // SAFETY: the feature of the first of the family is the one that it asks for.
        unsafe { native::short(data, state) }
    } else {
        portable::update(data, state)
    }
}

#[cfg(not(any(
    target_arch = "x86_64",
    all(target_arch = "aarch64", target_endian = "little")
)))]
fn short(data: &[u8], state: u32) -> u32 {
    portable::update(data, state)
}
