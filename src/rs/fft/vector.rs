//! Vectors of field elements: the few operations that the transform is written in.
#![expect(unsafe_code, reason = "vector instructions and loads through pointers")]
#![expect(
    clippy::inline_always,
    reason = "what is inlined into the function with the instruction set is compiled for it"
)]

#[cfg(target_arch = "aarch64")]
use std::arch::aarch64 as arch;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64 as arch;

#[cfg(target_arch = "x86_64")]
use crate::rs::field::AFFINE;
use crate::rs::field::NIBBLES;

/// A vector of field elements.
///
/// # Safety
/// An implementation may use instructions that not every CPU has. Whoever calls any of its methods
/// vouches for them, and for the memory that pointers lead to: `WIDTH` bytes, at any alignment.
pub unsafe trait Vector: Copy {
    /// Bytes in a vector; divides 64.
    const WIDTH: usize;
    /// Whether stores across the end of a cache line cost so much that a detour is shorter.
    const STAGED: bool = false;
    /// A constant in the form that multiplication by it takes.
    type Factor: Copy;

    fn factor(constant: u8) -> Self::Factor;
    unsafe fn load(from: *const u8) -> Self;
    unsafe fn store(self, to: *mut u8);
    unsafe fn xor(self, other: Self) -> Self;
    unsafe fn mul(self, factor: &Self::Factor) -> Self;

    /// Asks for what lies at an address, valid or not, to be brought into the cache.
    #[inline(always)]
    unsafe fn prefetch(at: *const u8) {
        let _ = at;
    }

    /// `self ^ a ^ b`.
    #[inline(always)]
    unsafe fn xor3(self, a: Self, b: Self) -> Self {
        // SAFETY: as vouched for by the caller.
        unsafe { self.xor(a).xor(b) }
    }
}

/// Eight elements in a word of plain arithmetic.
#[derive(Clone, Copy)]
pub struct Word(u64);

// SAFETY: no special instructions.
unsafe impl Vector for Word {
    const WIDTH: usize = 8;
    /// The images of the eight bits of an element.
    type Factor = [u64; 8];

    fn factor(constant: u8) -> Self::Factor {
        let table = &NIBBLES[usize::from(constant)];
        std::array::from_fn(|bit| {
            u64::from(
                table[if bit < 4 {
                    1 << bit
                } else {
                    16 + (1 << (bit - 4))
                }],
            )
        })
    }

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: the caller vouches for 8 readable bytes.
        Self(unsafe { from.cast::<u64>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: the caller vouches for 8 writable bytes.
        unsafe { to.cast::<u64>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        Self(self.0 ^ other.0)
    }

    #[inline(always)]
    unsafe fn mul(self, factor: &Self::Factor) -> Self {
        const LOWEST: u64 = 0x0101_0101_0101_0101;
        // One bit of each byte times the image of that bit stays within the byte.
        let images = factor.iter().enumerate();
        Self(images.fold(0, |sum, (bit, image)| {
            sum ^ (self.0 >> bit & LOWEST).wrapping_mul(*image)
        }))
    }
}

/// Two neighbouring vectors: constants are fetched once for both, and lines of the cache, which are 64
/// bytes long, are taken whole. Taken by halves they could get lost in between: the rows of a block
/// are as many as lines that a set of the cache holds, and often all fall into the same one.
#[derive(Clone, Copy)]
pub struct Twice<V>(V, V);

// SAFETY: the caller of a method vouches for what the vectors need.
unsafe impl<V: Vector> Vector for Twice<V> {
    const WIDTH: usize = 2 * V::WIDTH;
    type Factor = V::Factor;

    #[inline(always)]
    fn factor(constant: u8) -> Self::Factor {
        V::factor(constant)
    }

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: as vouched for by the caller.
        unsafe { Self(V::load(from), V::load(from.add(V::WIDTH))) }
    }

    #[inline(always)]
    unsafe fn prefetch(at: *const u8) {
        // SAFETY: as vouched for by the caller.
        unsafe { V::prefetch(at) };
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: as vouched for by the caller.
        unsafe {
            self.0.store(to);
            self.1.store(to.add(V::WIDTH));
        }
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        // SAFETY: as vouched for by the caller.
        unsafe { Self(self.0.xor(other.0), self.1.xor(other.1)) }
    }

    #[inline(always)]
    unsafe fn mul(self, factor: &Self::Factor) -> Self {
        // SAFETY: as vouched for by the caller.
        unsafe { Self(self.0.mul(factor), self.1.mul(factor)) }
    }

    #[inline(always)]
    unsafe fn xor3(self, a: Self, b: Self) -> Self {
        // SAFETY: as vouched for by the caller.
        unsafe { Self(self.0.xor3(a.0, b.0), self.1.xor3(a.1, b.1)) }
    }
}

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

/// A vector type whose multiplication is one affine map.
#[cfg(target_arch = "x86_64")]
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

#[cfg(target_arch = "x86_64")]
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
#[cfg(target_arch = "x86_64")]
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
