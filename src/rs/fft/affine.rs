//! Vectors that are multiplied by affine maps over GF(2), one instruction each (GFNI).
#![expect(unsafe_code, reason = "vector instructions")]

use std::arch::x86_64 as arch;

use crate::rs::{fft::vector::Vector, field::AFFINE};

/// A vector type whose multiplication is one affine map.
macro_rules! affine {
    ($name:ident, $bits:ident, $width:literal, $doc:literal, [$load:ident, $store:ident,
      $xor:ident, $affine:ident, $splat:ident, $xor3:expr]) => {
        #[doc = $doc]
        #[derive(Clone, Copy)]
        pub struct $name(arch::$bits);

        // SAFETY: the caller of a method vouches for the instructions.
        unsafe impl Vector for $name {
            const WIDTH: usize = $width;
            const STAGED: bool = $width == 64;
            type Factor = u64;

            #[inline(always)]
            fn factor(constant: u8) -> Self::Factor {
                AFFINE[usize::from(constant)]
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
                // SAFETY: as vouched for by the caller.
                Self(unsafe { arch::$affine::<0>(self.0, arch::$splat(factor.cast_signed())) })
            }

            #[inline(always)]
            unsafe fn xor3(self, a: Self, b: Self) -> Self {
                // SAFETY: as vouched for by the caller.
                Self(unsafe { $xor3(self.0, a.0, b.0) })
            }
        }
    };
}

affine!(
    Gfni,
    __m256i,
    32,
    "256 bits, AVX2 and GFNI.",
    [
        _mm256_loadu_si256,
        _mm256_storeu_si256,
        _mm256_xor_si256,
        _mm256_gf2p8affine_epi64_epi8,
        _mm256_set1_epi64x,
        |a, b, c| arch::_mm256_xor_si256(arch::_mm256_xor_si256(a, b), c)
    ]
);
affine!(
    Avx512,
    __m512i,
    64,
    "512 bits, AVX-512 F and BW, GFNI.",
    [
        _mm512_loadu_si512,
        _mm512_storeu_si512,
        _mm512_xor_si512,
        _mm512_gf2p8affine_epi64_epi8,
        _mm512_set1_epi64,
        |a, b, c| arch::_mm512_ternarylogic_epi64::<0x96>(a, b, c)
    ]
);
