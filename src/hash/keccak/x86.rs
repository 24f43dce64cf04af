//! The permutation with BMI, AVX2 and AVX-512.
#![expect(unsafe_code, reason = "SIMD instructions")]
#![expect(
    clippy::inline_always,
    reason = "instructions are inlined into the function that switches them on, or called one by one"
)]

use std::arch::x86_64::{
    __m128i, __m256i, __m512i, _mm_cvtsi64_si128, _mm_cvtsi128_si64, _mm_rol_epi64,
    _mm_set1_epi64x, _mm_ternarylogic_epi64, _mm_xor_si128, _mm256_add_epi64, _mm256_andnot_si256,
    _mm256_loadu_si256, _mm256_or_si256, _mm256_permute2x128_si256, _mm256_rol_epi64,
    _mm256_set_epi64x, _mm256_set1_epi64x, _mm256_setr_epi8, _mm256_shuffle_epi8,
    _mm256_slli_epi64, _mm256_srli_epi64, _mm256_storeu_si256, _mm256_ternarylogic_epi64,
    _mm256_unpackhi_epi64, _mm256_unpacklo_epi64, _mm256_xor_si256, _mm512_loadu_si512,
    _mm512_rol_epi64, _mm512_set_epi64, _mm512_set1_epi64, _mm512_shuffle_i64x2,
    _mm512_storeu_si512, _mm512_ternarylogic_epi64, _mm512_unpackhi_epi64, _mm512_unpacklo_epi64,
    _mm512_xor_si512,
};

use super::{
    Block, RATE,
    permutation::{self, State, WORDS, Words},
};

/// Truth tables of three inputs: all added, and `a ^ (!b & c)`.
const ADD: i32 = 0x96;
const CHI: i32 = 0xD2;

/// Number of the last word of a block, which is in no group of four or eight.
const LAST: usize = RATE / 8 - 1;

/// Four states, AVX2.
#[derive(Clone, Copy)]
struct Avx2(__m256i);

/// One, four and eight states, AVX-512.
#[derive(Clone, Copy)]
struct One(__m128i);
#[derive(Clone, Copy)]
struct Four(__m256i);
#[derive(Clone, Copy)]
struct Eight(__m512i);

/// Takes blocks into one state.
#[target_feature(enable = "bmi1,bmi2")]
pub(super) fn absorb_bmi(state: &mut State<1>, blocks: &[&[Block]; 1]) {
    // SAFETY: `u64` needs no instructions; the compiler makes use of those enabled here.
    unsafe { permutation::absorb::<u64, 1>(state, blocks) }
}

/// Takes blocks into one state: its words in vector registers of their own, for their instructions.
#[target_feature(enable = "avx512f,avx512vl")]
pub(super) fn absorb_avx512(state: &mut State<1>, blocks: &[&[Block]; 1]) {
    // SAFETY: the instructions are enabled here.
    unsafe { permutation::absorb::<One, 1>(state, blocks) }
}

/// Takes blocks into four states.
#[target_feature(enable = "avx2")]
pub(super) fn absorb_4_avx2(state: &mut State<4>, blocks: &[&[Block]; 4]) {
    // SAFETY: the instructions are enabled here.
    unsafe { permutation::absorb::<Avx2, 4>(state, blocks) }
}

/// Takes blocks into four states.
#[target_feature(enable = "avx512f,avx512vl")]
pub(super) fn absorb_4_avx512(state: &mut State<4>, blocks: &[&[Block]; 4]) {
    // SAFETY: the instructions are enabled here.
    unsafe { permutation::absorb::<Four, 4>(state, blocks) }
}

/// Takes blocks into eight states.
#[target_feature(enable = "avx512f,avx512vl")]
pub(super) fn absorb_8_avx512(state: &mut State<8>, blocks: &[&[Block]; 8]) {
    // SAFETY: the instructions are enabled here.
    unsafe { permutation::absorb::<Eight, 8>(state, blocks) }
}

/// What the registers of AVX-512 have in common.
macro_rules! ternary_logic {
    ($xor:ident, $ternary:ident, $rotate:ident, $splat:ident) => {
        type Spread = [Self; 2];

        #[inline(always)]
        unsafe fn splat(word: u64) -> Self {
            // SAFETY: passed on to the caller.
            Self(unsafe { $splat(word.cast_signed()) })
        }

        #[inline(always)]
        unsafe fn xor(self, other: Self) -> Self {
            // SAFETY: passed on to the caller.
            Self(unsafe { $xor(self.0, other.0) })
        }

        #[inline(always)]
        unsafe fn parity(column: [Self; 5]) -> Self {
            // SAFETY: passed on to the caller.
            unsafe {
                column[0]
                    .add([column[1], column[2]])
                    .add([column[3], column[4]])
            }
        }

        #[inline(always)]
        unsafe fn spread(left: Self, right: Self) -> [Self; 2] {
            // SAFETY: passed on to the caller.
            [left, Self(unsafe { $rotate::<1>(right.0) })]
        }

        #[inline(always)]
        unsafe fn add(self, [left, right]: [Self; 2]) -> Self {
            // SAFETY: passed on to the caller.
            Self(unsafe { $ternary::<ADD>(self.0, left.0, right.0) })
        }

        #[inline(always)]
        unsafe fn turn<const LEFT: i32, const RIGHT: i32>(self, spread: [Self; 2]) -> Self {
            // SAFETY: passed on to the caller.
            unsafe { Self($rotate::<LEFT>(self.add(spread).0)) }
        }

        #[inline(always)]
        unsafe fn chi(self, next: Self, second: Self) -> Self {
            // SAFETY: passed on to the caller.
            Self(unsafe { $ternary::<CHI>(self.0, next.0, second.0) })
        }
    };
}

/// Loading, storing and mixing of four states, whatever the instructions for the rest.
macro_rules! four_words {
    () => {
        #[inline(always)]
        unsafe fn load(words: &[u64; 4]) -> Self {
            // SAFETY: 32 bytes that can be read; the instruction: passed on to the caller.
            Self(unsafe { _mm256_loadu_si256(words.as_ptr().cast()) })
        }

        #[inline(always)]
        unsafe fn store(self, words: &mut [u64; 4]) {
            // SAFETY: 32 bytes that can be written; the instruction: passed on to the caller.
            unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), self.0) };
        }

        #[inline(always)]
        unsafe fn mix(state: &mut [Self; WORDS], blocks: [&Block; 4]) {
            let (groups, _) = state[..LAST].as_chunks_mut::<4>();
            for (number, group) in groups.iter_mut().enumerate() {
                // SAFETY: group 3 ends at byte 128 of 136; the rest: passed on to the caller.
                let columns = unsafe { transpose_4(blocks.map(|block| group_4(block, number))) };
                for (word, column) in group.iter_mut().zip(columns) {
                    // SAFETY: passed on to the caller.
                    *word = unsafe { word.xor(Self(column)) };
                }
            }
            let [a, b, c, d] = blocks.map(last_word);
            // SAFETY: passed on to the caller.
            state[LAST] = unsafe { state[LAST].xor(Self(_mm256_set_epi64x(d, c, b, a))) };
        }
    };
}

impl Words<1> for One {
    ternary_logic!(
        _mm_xor_si128,
        _mm_ternarylogic_epi64,
        _mm_rol_epi64,
        _mm_set1_epi64x
    );

    #[inline(always)]
    unsafe fn load(words: &[u64; 1]) -> Self {
        // SAFETY: passed on to the caller.
        Self(unsafe { _mm_cvtsi64_si128(words[0].cast_signed()) })
    }

    #[inline(always)]
    unsafe fn store(self, words: &mut [u64; 1]) {
        // SAFETY: passed on to the caller.
        words[0] = unsafe { _mm_cvtsi128_si64(self.0) }.cast_unsigned();
    }

    #[inline(always)]
    unsafe fn mix(state: &mut [Self; WORDS], [block]: [&Block; 1]) {
        for (word, bytes) in state.iter_mut().zip(block.as_chunks().0) {
            // SAFETY: passed on to the caller.
            *word = unsafe { word.xor(Self::load(&[u64::from_le_bytes(*bytes)])) };
        }
    }
}

impl Words<4> for Four {
    ternary_logic!(
        _mm256_xor_si256,
        _mm256_ternarylogic_epi64,
        _mm256_rol_epi64,
        _mm256_set1_epi64x
    );
    four_words!();
}

impl Words<4> for Avx2 {
    type Spread = Self;

    four_words!();

    #[inline(always)]
    unsafe fn splat(word: u64) -> Self {
        // SAFETY: passed on to the caller.
        Self(unsafe { _mm256_set1_epi64x(word.cast_signed()) })
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        // SAFETY: passed on to the caller.
        Self(unsafe { _mm256_xor_si256(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn parity([first, rest @ ..]: [Self; 5]) -> Self {
        // SAFETY: passed on to the caller.
        rest.into_iter()
            .fold(first, |sum, word| unsafe { sum.xor(word) })
    }

    #[inline(always)]
    unsafe fn spread(left: Self, right: Self) -> Self {
        // SAFETY: passed on to the caller.
        unsafe {
            // An addition runs where a shift cannot.
            let doubled = _mm256_add_epi64(right.0, right.0);
            let carry = _mm256_srli_epi64::<63>(right.0);
            left.xor(Self(_mm256_or_si256(doubled, carry)))
        }
    }

    #[inline(always)]
    unsafe fn add(self, spread: Self) -> Self {
        // SAFETY: passed on to the caller.
        unsafe { self.xor(spread) }
    }

    #[inline(always)]
    unsafe fn turn<const LEFT: i32, const RIGHT: i32>(self, spread: Self) -> Self {
        // SAFETY: passed on to the caller.
        unsafe {
            let sum = self.add(spread).0;
            Self(match LEFT {
                // Whole bytes: one instruction instead of three.
                8 => _mm256_shuffle_epi8(
                    sum,
                    _mm256_setr_epi8(
                        7, 0, 1, 2, 3, 4, 5, 6, 15, 8, 9, 10, 11, 12, 13, 14, 7, 0, 1, 2, 3, 4, 5,
                        6, 15, 8, 9, 10, 11, 12, 13, 14,
                    ),
                ),
                56 => _mm256_shuffle_epi8(
                    sum,
                    _mm256_setr_epi8(
                        1, 2, 3, 4, 5, 6, 7, 0, 9, 10, 11, 12, 13, 14, 15, 8, 1, 2, 3, 4, 5, 6, 7,
                        0, 9, 10, 11, 12, 13, 14, 15, 8,
                    ),
                ),
                _ => _mm256_or_si256(
                    _mm256_slli_epi64::<LEFT>(sum),
                    _mm256_srli_epi64::<RIGHT>(sum),
                ),
            })
        }
    }

    #[inline(always)]
    unsafe fn chi(self, next: Self, second: Self) -> Self {
        // SAFETY: passed on to the caller.
        unsafe { self.xor(Self(_mm256_andnot_si256(next.0, second.0))) }
    }
}

impl Words<8> for Eight {
    ternary_logic!(
        _mm512_xor_si512,
        _mm512_ternarylogic_epi64,
        _mm512_rol_epi64,
        _mm512_set1_epi64
    );

    #[inline(always)]
    unsafe fn load(words: &[u64; 8]) -> Self {
        // SAFETY: 64 bytes that can be read; the instruction: passed on to the caller.
        Self(unsafe { _mm512_loadu_si512(words.as_ptr().cast()) })
    }

    #[inline(always)]
    unsafe fn store(self, words: &mut [u64; 8]) {
        // SAFETY: 64 bytes that can be written; the instruction: passed on to the caller.
        unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), self.0) };
    }

    #[inline(always)]
    unsafe fn mix(state: &mut [Self; WORDS], blocks: [&Block; 8]) {
        let (groups, _) = state[..LAST].as_chunks_mut::<8>();
        for (number, group) in groups.iter_mut().enumerate() {
            // SAFETY: group 1 ends at byte 128 of 136; the rest: passed on to the caller.
            let columns = unsafe { transpose_8(blocks.map(|block| group_8(block, number))) };
            for (word, column) in group.iter_mut().zip(columns) {
                // SAFETY: passed on to the caller.
                *word = unsafe { word.xor(Self(column)) };
            }
        }
        let last = blocks.map(last_word);
        // SAFETY: passed on to the caller.
        let last = unsafe {
            _mm512_set_epi64(
                last[7], last[6], last[5], last[4], last[3], last[2], last[1], last[0],
            )
        };
        // SAFETY: passed on to the caller.
        state[LAST] = unsafe { state[LAST].xor(Self(last)) };
    }
}

/// Four words of a block, which has them.
#[inline(always)]
unsafe fn group_4(block: &Block, number: usize) -> __m256i {
    // SAFETY: passed on to the caller.
    unsafe { _mm256_loadu_si256(block.as_ptr().add(32 * number).cast()) }
}

/// Eight words of a block, which has them.
#[inline(always)]
unsafe fn group_8(block: &Block, number: usize) -> __m512i {
    // SAFETY: passed on to the caller.
    unsafe { _mm512_loadu_si512(block.as_ptr().add(64 * number).cast()) }
}

/// The word of a block that no group has.
#[inline(always)]
fn last_word(block: &Block) -> i64 {
    block
        .as_chunks()
        .0
        .last()
        .map_or(0, |bytes| i64::from_le_bytes(*bytes))
}

/// Turns four words of four blocks into four lanes of four words.
#[inline(always)]
unsafe fn transpose_4([a, b, c, d]: [__m256i; 4]) -> [__m256i; 4] {
    // SAFETY: passed on to the caller.
    unsafe {
        // Words 0 and 2 of two rows each; words 1 and 3.
        let even = [_mm256_unpacklo_epi64(a, b), _mm256_unpacklo_epi64(c, d)];
        let odd = [_mm256_unpackhi_epi64(a, b), _mm256_unpackhi_epi64(c, d)];
        [
            _mm256_permute2x128_si256::<0x20>(even[0], even[1]),
            _mm256_permute2x128_si256::<0x20>(odd[0], odd[1]),
            _mm256_permute2x128_si256::<0x31>(even[0], even[1]),
            _mm256_permute2x128_si256::<0x31>(odd[0], odd[1]),
        ]
    }
}

/// Turns eight words of eight blocks into eight lanes of eight words.
#[inline(always)]
unsafe fn transpose_8(rows: [__m512i; 8]) -> [__m512i; 8] {
    /// From pairs of rows: every other word of all of them.
    #[inline(always)]
    unsafe fn quarters(ab: __m512i, cd: __m512i, ef: __m512i, gh: __m512i) -> [__m512i; 4] {
        // SAFETY: passed on to the caller.
        unsafe {
            let low = [
                _mm512_shuffle_i64x2::<0x44>(ab, cd),
                _mm512_shuffle_i64x2::<0x44>(ef, gh),
            ];
            let high = [
                _mm512_shuffle_i64x2::<0xEE>(ab, cd),
                _mm512_shuffle_i64x2::<0xEE>(ef, gh),
            ];
            [
                _mm512_shuffle_i64x2::<0x88>(low[0], low[1]),
                _mm512_shuffle_i64x2::<0xDD>(low[0], low[1]),
                _mm512_shuffle_i64x2::<0x88>(high[0], high[1]),
                _mm512_shuffle_i64x2::<0xDD>(high[0], high[1]),
            ]
        }
    }

    // SAFETY: passed on to the caller.
    unsafe {
        let even = quarters(
            _mm512_unpacklo_epi64(rows[0], rows[1]),
            _mm512_unpacklo_epi64(rows[2], rows[3]),
            _mm512_unpacklo_epi64(rows[4], rows[5]),
            _mm512_unpacklo_epi64(rows[6], rows[7]),
        );
        let odd = quarters(
            _mm512_unpackhi_epi64(rows[0], rows[1]),
            _mm512_unpackhi_epi64(rows[2], rows[3]),
            _mm512_unpackhi_epi64(rows[4], rows[5]),
            _mm512_unpackhi_epi64(rows[6], rows[7]),
        );
        [
            even[0], odd[0], even[1], odd[1], even[2], odd[2], even[3], odd[3],
        ]
    }
}
