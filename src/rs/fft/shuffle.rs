//! Vectors that are multiplied by byte shuffles: two tables of 16 products each, for the halves of a byte
//! (sources: `rs/kernel/shuffle`). Nothing else of the transform multiplies this way, so that it can be
//! left out.
#![expect(unsafe_code, reason = "vector instructions")]
#![cfg_attr(
    target_arch = "aarch64",
    expect(
        clippy::inline_always,
        reason = "what is inlined into the function with the instruction set is compiled for it"
    )
)]

#[cfg(target_arch = "aarch64")]
use std::arch::aarch64 as arch;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64 as arch;

use crate::rs::{fft::vector::Vector, field::NIBBLES};

/// A vector type whose multiplication is two table look-ups in byte shuffles.
#[cfg(target_arch = "x86_64")]
macro_rules! shuffling {
    ($name:ident, $bits:ident, $width:literal, $doc:literal, [$load:ident, $store:ident, $xor:ident,
      $and:ident, $shift:ident, $shuffle:ident, $splat:ident, $table:expr]) => {
        #[doc = $doc]
        #[derive(Clone, Copy)]
        pub struct $name(arch::$bits);

        // SAFETY: the caller of a method vouches for the instructions.
        unsafe impl Vector for $name {
            const WIDTH: usize = $width;
            type Factor = [u8; 32];

            #[inline(always)]
            fn factor(constant: u8) -> Self::Factor {
                NIBBLES[usize::from(constant)]
            }

            #[inline(always)]
            unsafe fn load(from: *const u8) -> Self {
                // SAFETY: as vouched for by the caller.
                Self(unsafe { arch::$load(from.cast()) })
            }

            #[inline(always)]
            unsafe fn prefetch(at: *const u8) {
                // SAFETY: a hint, which every CPU of this architecture takes for any address.
                unsafe { arch::_mm_prefetch::<{ arch::_MM_HINT_T0 }>(at.cast()) };
            }

            #[inline(always)]
            unsafe fn store(self, to: *mut u8) {
                // SAFETY: as vouched for by the caller.
                unsafe { arch::$store(to.cast(), self.0) }
            }

            #[inline(always)]
            unsafe fn xor(self, other: Self) -> Self {
                // SAFETY: as vouched for by the caller.
                Self(unsafe { arch::$xor(self.0, other.0) })
            }

            #[inline(always)]
            unsafe fn mul(self, factor: &Self::Factor) -> Self {
                // SAFETY: as vouched for by the caller; the tables are the halves of the factor.
                unsafe {
                    let table = |half: usize| $table(factor.as_ptr().add(16 * half).cast());
                    let mask = arch::$splat(15);
                    let low = arch::$and(self.0, mask);
                    let high = arch::$and(arch::$shift::<4>(self.0), mask);
                    Self(arch::$xor(
                        arch::$shuffle(table(0), low),
                        arch::$shuffle(table(1), high),
                    ))
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
shuffling!(
    Ssse3,
    __m128i,
    16,
    "128 bits, SSSE3.",
    [
        _mm_loadu_si128,
        _mm_storeu_si128,
        _mm_xor_si128,
        _mm_and_si128,
        _mm_srli_epi64,
        _mm_shuffle_epi8,
        _mm_set1_epi8,
        |half| arch::_mm_loadu_si128(half)
    ]
);
#[cfg(target_arch = "x86_64")]
shuffling!(
    Avx2,
    __m256i,
    32,
    "256 bits, AVX2.",
    [
        _mm256_loadu_si256,
        _mm256_storeu_si256,
        _mm256_xor_si256,
        _mm256_and_si256,
        _mm256_srli_epi64,
        _mm256_shuffle_epi8,
        _mm256_set1_epi8,
        |half| arch::_mm256_broadcastsi128_si256(arch::_mm_loadu_si128(half))
    ]
);

/// 128 bits, NEON.
#[cfg(target_arch = "aarch64")]
#[derive(Clone, Copy)]
pub struct Neon(arch::uint8x16_t);

// SAFETY: the caller of a method vouches for the instructions.
#[cfg(target_arch = "aarch64")]
unsafe impl Vector for Neon {
    const WIDTH: usize = 16;
    type Factor = [u8; 32];

    #[inline(always)]
    fn factor(constant: u8) -> Self::Factor {
        NIBBLES[usize::from(constant)]
    }

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: as vouched for by the caller.
        Self(unsafe { arch::vld1q_u8(from) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: as vouched for by the caller.
        unsafe { arch::vst1q_u8(to, self.0) }
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        // SAFETY: as vouched for by the caller.
        Self(unsafe { arch::veorq_u8(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn mul(self, factor: &Self::Factor) -> Self {
        // SAFETY: as vouched for by the caller; the tables are the halves of the factor.
        unsafe {
            let table = |half: usize| arch::vld1q_u8(factor.as_ptr().add(16 * half));
            let low = arch::vandq_u8(self.0, arch::vdupq_n_u8(15));
            let high = arch::vshrq_n_u8::<4>(self.0);
            Self(arch::veorq_u8(
                arch::vqtbl1q_u8(table(0), low),
                arch::vqtbl1q_u8(table(1), high),
            ))
        }
    }
}
