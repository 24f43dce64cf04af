//! Byte shuffles of SSSE3 and AVX2.
#![expect(unsafe_code, reason = "vector instructions")]
#![expect(
    clippy::inline_always,
    reason = "what is inlined into the function with the instruction set is compiled for it"
)]

use std::arch::x86_64::{
    __m128i, __m256i, _mm_and_si128, _mm_andnot_si128, _mm_loadu_si128, _mm_set1_epi8,
    _mm_setzero_si128, _mm_shuffle_epi8, _mm_srli_epi64, _mm_storeu_si128, _mm_xor_si128,
    _mm256_and_si256, _mm256_andnot_si256, _mm256_broadcastsi128_si256, _mm256_loadu_si256,
    _mm256_set1_epi8, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_srli_epi64,
    _mm256_storeu_si256, _mm256_xor_si256,
};

use crate::rs::{
    field::NIBBLES,
    kernel::tile::{self, TAIL_MASKS, Tile, Vector, unmasked_memory, vector},
};

/// 128 bits.
#[derive(Clone, Copy)]
pub struct Shuffle128(__m128i);

#[target_feature(enable = "ssse3")]
unsafe fn tile128<const ROWS: usize, const WIDTH: usize>(tile: &Tile<'_>) {
    // SAFETY: that of the caller, and the instruction set is switched on here.
    unsafe { tile::run::<Shuffle128, ROWS, WIDTH>(tile) }
}

impl Vector for Shuffle128 {
    const LEN: usize = 16;
    const EXACT_TAILS: bool = false;
    const PAIRS: bool = false;
    const TILES: &'static [unsafe fn(&Tile<'_>)] = &[
        tile128::<1, 2>,
        tile128::<2, 2>,
        tile128::<3, 2>,
        tile128::<4, 2>,
    ];
    type Table = [u8; 32];
    /// The low and the high halves of the bytes.
    type Factor = (Self, Self);
    type Tail = (Self, usize);

    #[inline(always)]
    fn table(coefficient: u8) -> [u8; 32] {
        NIBBLES[usize::from(coefficient)]
    }

    unmasked_memory!(
        _mm_setzero_si128,
        _mm_loadu_si128,
        _mm_storeu_si128,
        _mm_xor_si128,
        _mm_and_si128,
        _mm_andnot_si128
    );

    #[inline(always)]
    unsafe fn factor(self) -> (Self, Self) {
        vector!({
            let mask = _mm_set1_epi8(15);
            let high = _mm_srli_epi64::<4>(self.0);
            (
                Self(_mm_and_si128(self.0, mask)),
                Self(_mm_and_si128(high, mask)),
            )
        })
    }

    #[inline(always)]
    unsafe fn add_product(self, (low, high): (Self, Self), table: &[u8; 32]) -> Self {
        vector!({
            let low_table = Self::load(table.as_ptr()).0;
            let high_table = Self::load(table.as_ptr().add(16)).0;
            let low = Self(_mm_shuffle_epi8(low_table, low.0));
            let high = Self(_mm_shuffle_epi8(high_table, high.0));
            self.add(low).add(high)
        })
    }
}

/// 256 bits.
#[derive(Clone, Copy)]
pub struct Shuffle256(__m256i);

#[target_feature(enable = "avx2")]
unsafe fn tile256<const ROWS: usize, const WIDTH: usize>(tile: &Tile<'_>) {
    // SAFETY: that of the caller, and the instruction set is switched on here.
    unsafe { tile::run::<Shuffle256, ROWS, WIDTH>(tile) }
}

impl Vector for Shuffle256 {
    const LEN: usize = 32;
    const EXACT_TAILS: bool = false;
    const PAIRS: bool = false;
    const TILES: &'static [unsafe fn(&Tile<'_>)] = &[
        tile256::<1, 2>,
        tile256::<2, 2>,
        tile256::<3, 2>,
        tile256::<4, 2>,
    ];
    type Table = [u8; 32];
    /// The low and the high halves of the bytes.
    type Factor = (Self, Self);
    type Tail = (Self, usize);

    #[inline(always)]
    fn table(coefficient: u8) -> [u8; 32] {
        NIBBLES[usize::from(coefficient)]
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
    unsafe fn factor(self) -> (Self, Self) {
        vector!({
            let mask = _mm256_set1_epi8(15);
            let high = _mm256_srli_epi64::<4>(self.0);
            (
                Self(_mm256_and_si256(self.0, mask)),
                Self(_mm256_and_si256(high, mask)),
            )
        })
    }

    #[inline(always)]
    unsafe fn add_product(self, (low, high): (Self, Self), table: &[u8; 32]) -> Self {
        vector!({
            let low_table = _mm_loadu_si128(table.as_ptr().cast());
            let high_table = _mm_loadu_si128(table.as_ptr().add(16).cast());
            let low_table = _mm256_broadcastsi128_si256(low_table);
            let high_table = _mm256_broadcastsi128_si256(high_table);
            let low = Self(_mm256_shuffle_epi8(low_table, low.0));
            let high = Self(_mm256_shuffle_epi8(high_table, high.0));
            self.add(low).add(high)
        })
    }
}
