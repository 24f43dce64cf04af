//! Multiplication as an affine map over GF(2), one instruction for a whole vector (GFNI).
#![expect(unsafe_code, reason = "vector instructions")]
#![expect(
    clippy::inline_always,
    reason = "what is inlined into the function with the instruction set is compiled for it"
)]

use std::arch::x86_64::{
    __m256i, __m512i, __mmask64, _mm256_and_si256, _mm256_andnot_si256,
    _mm256_gf2p8affine_epi64_epi8, _mm256_loadu_si256, _mm256_set1_epi64x, _mm256_setzero_si256,
    _mm256_storeu_si256, _mm256_xor_si256, _mm512_gf2p8affine_epi64_epi8, _mm512_loadu_si512,
    _mm512_mask_storeu_epi8, _mm512_maskz_loadu_epi8, _mm512_set1_epi64, _mm512_setzero_si512,
    _mm512_storeu_si512, _mm512_ternarylogic_epi64, _mm512_xor_si512,
};

use crate::rs::{
    field::AFFINE,
    kernel::tile::{self, TAIL_MASKS, Tile, Vector, unmasked_memory, vector},
};

/// 256 bits.
#[derive(Clone, Copy)]
pub struct Affine256(__m256i);

#[target_feature(enable = "avx2,gfni")]
unsafe fn tile256<const ROWS: usize, const WIDTH: usize>(tile: &Tile<'_>) {
    // SAFETY: that of the caller, and the instruction set is switched on here.
    unsafe { tile::run::<Affine256, ROWS, WIDTH>(tile) }
}

impl Vector for Affine256 {
    const LEN: usize = 32;
    const EXACT_TAILS: bool = false;
    const PAIRS: bool = false;
    const TILES: &'static [unsafe fn(&Tile<'_>)] = &[
        tile256::<1, 4>,
        tile256::<2, 4>,
        tile256::<3, 3>,
        tile256::<4, 2>,
        tile256::<5, 2>,
        tile256::<6, 2>,
    ];
    type Table = u64;
    type Factor = Self;
    type Tail = (Self, usize);

    #[inline(always)]
    fn table(coefficient: u8) -> u64 {
        AFFINE[usize::from(coefficient)]
    }

    unmasked_memory!(
        _mm256_setzero_si256,
        _mm256_loadu_si256,
        _mm256_storeu_si256,
        _mm256_xor_si256,
        _mm256_and_si256,
        _mm256_andnot_si256
    );

    #[inline(always)]
    unsafe fn factor(self) -> Self {
        self
    }

    #[inline(always)]
    unsafe fn add_product(self, factor: Self, table: &u64) -> Self {
        vector!({
            let matrix = _mm256_set1_epi64x(table.cast_signed());
            self.add(Self(_mm256_gf2p8affine_epi64_epi8::<0>(factor.0, matrix)))
        })
    }
}

/// 512 bits.
#[derive(Clone, Copy)]
pub struct Affine512(__m512i);

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,gfni")]
unsafe fn tile512<const ROWS: usize, const WIDTH: usize>(tile: &Tile<'_>) {
    // SAFETY: that of the caller, and the instruction set is switched on here.
    unsafe { tile::run::<Affine512, ROWS, WIDTH>(tile) }
}

impl Vector for Affine512 {
    const LEN: usize = 64;
    const EXACT_TAILS: bool = true;
    const PAIRS: bool = true;
    const TILES: &'static [unsafe fn(&Tile<'_>)] = &[
        tile512::<1, 4>,
        tile512::<2, 4>,
        tile512::<3, 4>,
        tile512::<4, 4>,
        tile512::<5, 3>,
        tile512::<6, 3>,
        tile512::<7, 2>,
        tile512::<8, 2>,
    ];
    type Table = u64;
    type Factor = Self;
    type Tail = __mmask64;

    #[inline(always)]
    fn table(coefficient: u8) -> u64 {
        AFFINE[usize::from(coefficient)]
    }

    #[inline(always)]
    unsafe fn zero() -> Self {
        vector!(Self(_mm512_setzero_si512()))
    }

    #[inline(always)]
    unsafe fn load(at: *const u8) -> Self {
        vector!(Self(_mm512_loadu_si512(at.cast())))
    }

    #[inline(always)]
    unsafe fn store(self, at: *mut u8) {
        vector!(_mm512_storeu_si512(at.cast(), self.0));
    }

    #[inline(always)]
    unsafe fn tail(len: usize) -> __mmask64 {
        u64::MAX >> (64 - len)
    }

    #[inline(always)]
    unsafe fn load_tail(at: *const u8, tail: __mmask64) -> Self {
        vector!(Self(_mm512_maskz_loadu_epi8(tail, at.cast())))
    }

    #[inline(always)]
    unsafe fn load_around(_: *const u8, _: __mmask64) -> Self {
        vector!(Self::zero())
    }

    #[inline(always)]
    unsafe fn store_tail(self, at: *mut u8, tail: __mmask64) {
        vector!(_mm512_mask_storeu_epi8(at.cast(), tail, self.0));
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        vector!(Self(_mm512_xor_si512(self.0, other.0)))
    }

    #[inline(always)]
    unsafe fn factor(self) -> Self {
        self
    }

    #[inline(always)]
    unsafe fn add_product(self, factor: Self, table: &u64) -> Self {
        vector!({
            let matrix = _mm512_set1_epi64(table.cast_signed());
            self.add(Self(_mm512_gf2p8affine_epi64_epi8::<0>(factor.0, matrix)))
        })
    }

    #[inline(always)]
    unsafe fn add_products(self, factors: [Self; 2], tables: [&u64; 2]) -> Self {
        // One instruction adds three vectors.
        const SUM: i32 = 0b1001_0110;
        vector!({
            let first = _mm512_set1_epi64(tables[0].cast_signed());
            let second = _mm512_set1_epi64(tables[1].cast_signed());
            let first = _mm512_gf2p8affine_epi64_epi8::<0>(factors[0].0, first);
            let second = _mm512_gf2p8affine_epi64_epi8::<0>(factors[1].0, second);
            Self(_mm512_ternarylogic_epi64::<SUM>(self.0, first, second))
        })
    }
}
