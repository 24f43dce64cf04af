//! Words in the vectors of x86: 4 lanes (SSE4.1), 8 (AVX2), 16 (AVX-512).
#![allow(
    clippy::wildcard_imports,
    reason = "a list of the intrinsics would repeat the code"
)]

use std::{arch::x86_64::*, mem::MaybeUninit};

use super::{Interleave, MAX_LANES, Places, Sources, Vector};

/// 4 lanes; needs SSSE3 and SSE4.1.
#[derive(Clone, Copy)]
pub(in crate::hash) struct Sse41(__m128i);
/// 8 lanes; needs AVX2.
#[derive(Clone, Copy)]
pub(in crate::hash) struct Avx2(__m256i);
/// 16 lanes; needs AVX-512 F and BW.
#[derive(Clone, Copy)]
pub(in crate::hash) struct Avx512(__m512i);

/// For `_mm_shuffle_epi8`: the bytes of each word in reverse.
const SWAP_BYTES: [i8; 16] = [3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12];
/// Each word rotated by 16 bits.
const ROTATE_16: [i8; 16] = [2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13];
/// Each word rotated right by 8 bits.
const ROTATE_8: [i8; 16] = [1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12];

/// Intrinsics on vectors that exist.
macro_rules! known {
    ($value:expr) => {
        // SAFETY: a value of this type exists, so whoever made the first one has promised that the
        // CPU has its instructions.
        unsafe { $value }
    };
}

/// The same names for the same operations of all widths.
macro_rules! interleave {
    ($vector:ident, $low_words:ident, $high_words:ident, $low_pairs:ident, $high_pairs:ident) => {
        impl Interleave for $vector {
            #[inline(always)]
            fn low_words(self, other: Self) -> Self {
                known!(Self($low_words(self.0, other.0)))
            }

            #[inline(always)]
            fn high_words(self, other: Self) -> Self {
                known!(Self($high_words(self.0, other.0)))
            }

            #[inline(always)]
            fn low_pairs(self, other: Self) -> Self {
                known!(Self($low_pairs(self.0, other.0)))
            }

            #[inline(always)]
            fn high_pairs(self, other: Self) -> Self {
                known!(Self($high_pairs(self.0, other.0)))
            }
        }
    };
}

interleave!(
    Sse41,
    _mm_unpacklo_epi32,
    _mm_unpackhi_epi32,
    _mm_unpacklo_epi64,
    _mm_unpackhi_epi64
);
interleave!(
    Avx2,
    _mm256_unpacklo_epi32,
    _mm256_unpackhi_epi32,
    _mm256_unpacklo_epi64,
    _mm256_unpackhi_epi64
);
interleave!(
    Avx512,
    _mm512_unpacklo_epi32,
    _mm512_unpackhi_epi32,
    _mm512_unpacklo_epi64,
    _mm512_unpackhi_epi64
);

/// What SSE4.1 and AVX2 have to compose because they have neither rotations nor ternary logic.
macro_rules! composed {
    ($set:ident, $add:ident, $xor:ident, $and:ident, $or:ident, $left:ident, $right:ident) => {
        #[inline(always)]
        unsafe fn splat(word: u32) -> Self {
            // SAFETY: the caller has promised that the CPU has the instruction.
            unsafe { Self($set(word.cast_signed())) }
        }

        #[inline(always)]
        fn plus(self, other: Self) -> Self {
            known!(Self($add(self.0, other.0)))
        }

        #[inline(always)]
        fn plus_word(self, word: u32) -> Self {
            known!(Self($add(self.0, $set(word.cast_signed()))))
        }

        #[inline(always)]
        fn xor(self, other: Self) -> Self {
            known!(Self($xor(self.0, other.0)))
        }

        #[inline(always)]
        fn rotate<const RIGHT: i32, const LEFT: i32>(self) -> Self {
            match RIGHT {
                16 => self.shuffle(&ROTATE_16),
                8 => self.shuffle(&ROTATE_8),
                _ => known!(Self($or($right::<RIGHT>(self.0), $left::<LEFT>(self.0)))),
            }
        }

        #[inline(always)]
        fn shift<const BITS: i32>(self) -> Self {
            known!(Self($right::<BITS>(self.0)))
        }

        #[inline(always)]
        fn swap_bytes(self) -> Self {
            self.shuffle(&SWAP_BYTES)
        }

        #[inline(always)]
        fn parity(self, second: Self, third: Self) -> Self {
            self.xor(second).xor(third)
        }

        #[inline(always)]
        fn choose(self, yes: Self, no: Self) -> Self {
            known!(Self($xor(no.0, $and(self.0, $xor(yes.0, no.0)))))
        }

        #[inline(always)]
        fn majority(self, second: Self, third: Self) -> Self {
            // Where the first two agree they decide, elsewhere the third does. In a round of
            // SHA-256 one of the two exclusive ors is that of the round before.
            known!(Self($xor(
                second.0,
                $and($xor(self.0, second.0), $xor(second.0, third.0))
            )))
        }

        #[inline(always)]
        fn xor_or_not(self, second: Self, third: Self) -> Self {
            known!(Self($xor(self.0, $or(second.0, $xor(third.0, $set(-1))))))
        }
    };
}

/// The 16 bytes at `source`.
///
/// # Safety
/// They can be read.
#[inline(always)]
unsafe fn quarter(source: *const u8) -> __m128i {
    // SAFETY: the caller has promised it; every x86-64 has the load, which asks for no alignment.
    unsafe { _mm_loadu_si128(source.cast()) }
}

impl Sse41 {
    #[inline(always)]
    fn shuffle(self, order: &[i8; 16]) -> Self {
        known!(Self(_mm_shuffle_epi8(
            self.0,
            quarter(order.as_ptr().cast())
        )))
    }

    /// The 16 bytes at `source`.
    ///
    /// # Safety
    /// They can be read, and the CPU has SSE4.1.
    #[inline(always)]
    unsafe fn row(source: *const u8) -> Self {
        // SAFETY: the caller has promised it.
        unsafe { Self(quarter(source)) }
    }
}

impl Vector for Sse41 {
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn from_lanes(words: &[u32; MAX_LANES]) -> Self {
        // SAFETY: 4 of 16 words.
        unsafe { Self::row(words.as_ptr().cast()) }
    }

    #[inline(always)]
    unsafe fn load(sources: &Sources, at: usize) -> [Self; 8] {
        // SAFETY: the caller has promised 32 readable bytes there for each of 4 lanes.
        let (first, second) = unsafe {
            (
                [
                    Self::row(sources[0].add(at)),
                    Self::row(sources[1].add(at)),
                    Self::row(sources[2].add(at)),
                    Self::row(sources[3].add(at)),
                ],
                [
                    Self::row(sources[0].add(at + 16)),
                    Self::row(sources[1].add(at + 16)),
                    Self::row(sources[2].add(at + 16)),
                    Self::row(sources[3].add(at + 16)),
                ],
            )
        };
        let [a, b, c, d] = Self::columns(first);
        let [e, f, g, h] = Self::columns(second);
        [a, b, c, d, e, f, g, h]
    }

    #[inline(always)]
    unsafe fn store(words: [Self; 8], places: &Places) {
        let [a, b, c, d, e, f, g, h] = words;
        let first = Self::columns([a, b, c, d]);
        let second = Self::columns([e, f, g, h]);
        for lane in 0..4 {
            let place = places[lane];
            // SAFETY: the caller has promised 32 writable bytes for each of 4 lanes.
            unsafe {
                _mm_storeu_si128(place.cast(), first[lane].0);
                _mm_storeu_si128(place.add(16).cast(), second[lane].0);
            }
        }
    }

    composed!(
        _mm_set1_epi32,
        _mm_add_epi32,
        _mm_xor_si128,
        _mm_and_si128,
        _mm_or_si128,
        _mm_slli_epi32,
        _mm_srli_epi32
    );
}

impl Avx2 {
    /// Each lane's word: the inverse of [`Vector::from_lanes`].
    #[inline(always)]
    pub(in crate::hash) fn to_lanes(self, words: &mut [u32; 8]) {
        // SAFETY: the CPU has the instruction because the value exists; there is room for it.
        unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), self.0) };
    }

    #[inline(always)]
    fn shuffle(self, order: &[i8; 16]) -> Self {
        known!(Self(_mm256_shuffle_epi8(
            self.0,
            _mm256_broadcastsi128_si256(quarter(order.as_ptr().cast()))
        )))
    }

    /// 16 bytes at `low` and 16 at `high`.
    ///
    /// # Safety
    /// They can be read, and the CPU has AVX2.
    #[inline(always)]
    unsafe fn rows(low: *const u8, high: *const u8) -> Self {
        // SAFETY: the caller has promised it.
        unsafe { Self(_mm256_loadu2_m128i(high.cast(), low.cast())) }
    }
}

impl Vector for Avx2 {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn from_lanes(words: &[u32; MAX_LANES]) -> Self {
        // SAFETY: 8 of 16 words; the caller has promised that the CPU has the instruction.
        unsafe { Self(_mm256_loadu_si256(words.as_ptr().cast())) }
    }

    #[inline(always)]
    unsafe fn load(sources: &Sources, at: usize) -> [Self; 8] {
        // Rows that are four apart share a vector, so that columns come out in order.
        // SAFETY: the caller has promised 32 readable bytes there for each of 8 lanes.
        let (first, second) = unsafe {
            (
                [
                    Self::rows(sources[0].add(at), sources[4].add(at)),
                    Self::rows(sources[1].add(at), sources[5].add(at)),
                    Self::rows(sources[2].add(at), sources[6].add(at)),
                    Self::rows(sources[3].add(at), sources[7].add(at)),
                ],
                [
                    Self::rows(sources[0].add(at + 16), sources[4].add(at + 16)),
                    Self::rows(sources[1].add(at + 16), sources[5].add(at + 16)),
                    Self::rows(sources[2].add(at + 16), sources[6].add(at + 16)),
                    Self::rows(sources[3].add(at + 16), sources[7].add(at + 16)),
                ],
            )
        };
        let [a, b, c, d] = Self::columns(first);
        let [e, f, g, h] = Self::columns(second);
        [a, b, c, d, e, f, g, h]
    }

    #[inline(always)]
    unsafe fn store(words: [Self; 8], places: &Places) {
        let [a, b, c, d, e, f, g, h] = words;
        let first = Self::columns([a, b, c, d]);
        let second = Self::columns([e, f, g, h]);
        for lane in 0..4 {
            let (first, second) = (first[lane].0, second[lane].0);
            // SAFETY: the caller has promised 32 writable bytes for each of 8 lanes.
            unsafe {
                let low = _mm256_permute2x128_si256::<0x20>(first, second);
                let high = _mm256_permute2x128_si256::<0x31>(first, second);
                _mm256_storeu_si256(places[lane].cast(), low);
                _mm256_storeu_si256(places[lane + 4].cast(), high);
            }
        }
    }

    composed!(
        _mm256_set1_epi32,
        _mm256_add_epi32,
        _mm256_xor_si256,
        _mm256_and_si256,
        _mm256_or_si256,
        _mm256_slli_epi32,
        _mm256_srli_epi32
    );
}

impl Avx512 {
    /// 32 bytes at `low` and 32 at `high`.
    ///
    /// # Safety
    /// They can be read, and the CPU has AVX-512.
    #[inline(always)]
    unsafe fn rows(low: *const u8, high: *const u8) -> Self {
        // SAFETY: the caller has promised it; the loads ask for no alignment.
        unsafe {
            let low = _mm512_castsi256_si512(_mm256_loadu_si256(low.cast()));
            let high = _mm256_loadu_si256(high.cast());
            Self(_mm512_inserti64x4::<1>(low, high))
        }
    }
}

impl Vector for Avx512 {
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn splat(word: u32) -> Self {
        // SAFETY: the caller has promised that the CPU has the instruction.
        unsafe { Self(_mm512_set1_epi32(word.cast_signed())) }
    }

    #[inline(always)]
    unsafe fn from_lanes(words: &[u32; MAX_LANES]) -> Self {
        // SAFETY: 16 words; the caller has promised that the CPU has the instruction.
        unsafe { Self(_mm512_loadu_si512(words.as_ptr().cast())) }
    }

    #[inline(always)]
    unsafe fn load(sources: &Sources, at: usize) -> [Self; 8] {
        // SAFETY: the caller has promised that the CPU has AVX-512.
        let zero = unsafe { Self::splat(0) };
        let (mut first, mut second) = ([zero; 4], [zero; 4]);
        for lane in 0..4 {
            // SAFETY: the caller has promised 32 readable bytes there for each of 16 lanes.
            unsafe {
                let low = Self::rows(sources[lane].add(at), sources[lane + 4].add(at)).0;
                let high = Self::rows(sources[lane + 8].add(at), sources[lane + 12].add(at)).0;
                first[lane] = Self(_mm512_shuffle_i32x4::<0x88>(low, high));
                second[lane] = Self(_mm512_shuffle_i32x4::<0xDD>(low, high));
            }
        }
        let [a, b, c, d] = Self::columns(first);
        let [e, f, g, h] = Self::columns(second);
        [a, b, c, d, e, f, g, h]
    }

    #[inline(always)]
    unsafe fn store(words: [Self; 8], places: &Places) {
        let [a, b, c, d, e, f, g, h] = words;
        let first = Self::columns([a, b, c, d]);
        let second = Self::columns([e, f, g, h]);
        for lane in 0..4 {
            let (first, second) = (first[lane].0, second[lane].0);
            // SAFETY: the caller has promised 32 writable bytes for each of 16 lanes.
            unsafe {
                let low = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
                let low = _mm512_permutex2var_epi64(first, low, second);
                let high = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
                let high = _mm512_permutex2var_epi64(first, high, second);
                _mm256_storeu_si256(places[lane].cast(), _mm512_castsi512_si256(low));
                _mm256_storeu_si256(places[lane + 4].cast(), _mm512_extracti64x4_epi64::<1>(low));
                _mm256_storeu_si256(places[lane + 8].cast(), _mm512_castsi512_si256(high));
                _mm256_storeu_si256(
                    places[lane + 12].cast(),
                    _mm512_extracti64x4_epi64::<1>(high),
                );
            }
        }
    }

    #[inline(always)]
    unsafe fn fill<'a>(
        place: &'a mut MaybeUninit<[u8; 64]>,
        block: &[u8; 64],
        source: *const u8,
        len: usize,
    ) -> &'a [u8; 64] {
        let mask = if len < 64 {
            !(u64::MAX << len)
        } else {
            u64::MAX
        };
        // SAFETY: the caller has promised `len` readable bytes, and the load touches no byte that
        // the mask leaves out; loads and stores ask for no alignment. The store fills the place.
        unsafe {
            let block = _mm512_loadu_si512(block.as_ptr().cast());
            let bytes = _mm512_mask_loadu_epi8(block, mask, source.cast());
            _mm512_storeu_si512(place.as_mut_ptr().cast(), bytes);
            place.assume_init_ref()
        }
    }

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        known!(Self(_mm512_add_epi32(self.0, other.0)))
    }

    #[inline(always)]
    fn plus_word(self, word: u32) -> Self {
        known!(Self(_mm512_add_epi32(
            self.0,
            _mm512_set1_epi32(word.cast_signed())
        )))
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        known!(Self(_mm512_xor_si512(self.0, other.0)))
    }

    #[inline(always)]
    fn rotate<const RIGHT: i32, const LEFT: i32>(self) -> Self {
        known!(Self(_mm512_ror_epi32::<RIGHT>(self.0)))
    }

    #[inline(always)]
    fn shift<const BITS: i32>(self) -> Self {
        // The intrinsic takes its count unsigned, which a parameter cannot be turned into.
        known!(Self(_mm512_srl_epi32(self.0, _mm_cvtsi32_si128(BITS))))
    }

    #[inline(always)]
    fn swap_bytes(self) -> Self {
        known!(Self(_mm512_shuffle_epi8(
            self.0,
            _mm512_broadcast_i32x4(quarter(SWAP_BYTES.as_ptr().cast()))
        )))
    }

    #[inline(always)]
    fn parity(self, second: Self, third: Self) -> Self {
        known!(Self(_mm512_ternarylogic_epi32::<0x96>(
            self.0, second.0, third.0
        )))
    }

    #[inline(always)]
    fn choose(self, yes: Self, no: Self) -> Self {
        known!(Self(_mm512_ternarylogic_epi32::<0xCA>(self.0, yes.0, no.0)))
    }

    #[inline(always)]
    fn majority(self, second: Self, third: Self) -> Self {
        known!(Self(_mm512_ternarylogic_epi32::<0xE8>(
            self.0, second.0, third.0
        )))
    }

    #[inline(always)]
    fn xor_or_not(self, second: Self, third: Self) -> Self {
        known!(Self(_mm512_ternarylogic_epi32::<0x2D>(
            self.0, second.0, third.0
        )))
    }
}
