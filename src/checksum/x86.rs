//! CRC32C by the `crc32` instruction of SSE4.2 and by carry-less multiplication.

#![expect(unsafe_code, reason = "instructions that not every CPU has")]
#![expect(
    clippy::inline_always,
    reason = "code gets the target features of the function that it is inlined into"
)]

use std::arch::x86_64::{
    __m128i, __m256i, __m512i, _MM_HINT_T0, _mm_clmulepi64_si128, _mm_crc32_u8, _mm_crc32_u64,
    _mm_cvtsi32_si128, _mm_cvtsi128_si64, _mm_extract_epi64, _mm_loadu_si128, _mm_prefetch,
    _mm_set_epi64x, _mm_xor_si128, _mm256_broadcastsi128_si256, _mm256_castsi256_si128,
    _mm256_clmulepi64_epi128, _mm256_extracti128_si256, _mm256_loadu_si256, _mm256_xor_si256,
    _mm512_broadcast_i32x4, _mm512_castsi512_si256, _mm512_clmulepi64_epi128,
    _mm512_extracti64x4_epi64, _mm512_loadu_si512, _mm512_ternarylogic_epi64,
};

use super::{
    fused::{Cut, Scalar, Vector, serial, split_end, update},
    polynomial,
};

/// Below this, multiplying without an instruction for it costs more than three streams save.
const STREAMS_FROM: usize = 1024;

/// The state after `data`, word by word.
#[target_feature(enable = "sse4.2")]
pub fn short(data: &[u8], state: u32) -> u32 {
    // SAFETY: this function has the features.
    unsafe { serial::<Sse42>(data, state) }
}

/// The state after `data`: three streams.
#[target_feature(enable = "sse4.2")]
pub fn sse42(data: &[u8], state: u32) -> u32 {
    type Streams = Cut<Sse42, __m128i, 0, 3, 4>;
    if data.len() < STREAMS_FROM {
        return short(data, state);
    }
    // SAFETY: this function has the features; without vectors, PCLMULQDQ is not used.
    unsafe { update::<Sse42, Streams, Streams, 0>(data, state) }
}

/// The state after `data`: streams, and vectors of 128 bits.
#[target_feature(enable = "sse4.2,pclmulqdq")]
pub fn pclmulqdq(data: &[u8], state: u32) -> u32 {
    type Short = Cut<Pclmulqdq, __m128i, 1, 3, 2>;
    type Long = Cut<Pclmulqdq, __m128i, 4, 3, 3>;
    if let Some((data, end)) = split_end::<Long>(data) {
        return short(end, pclmulqdq(data, state));
    }
    // SAFETY: this function has the features.
    unsafe { update::<Pclmulqdq, Short, Long, 1024>(data, state) }
}

/// The state after `data`: streams, and vectors of 256 bits.
#[target_feature(enable = "avx2,vpclmulqdq")]
pub fn vpclmulqdq(data: &[u8], state: u32) -> u32 {
    type Short = Cut<Pclmulqdq, __m256i, 4, 0, 0>;
    type Long = Cut<Pclmulqdq, __m256i, 4, 3, 3>;
    if let Some((data, end)) = split_end::<Long>(data) {
        return short(end, vpclmulqdq(data, state));
    }
    // SAFETY: this function has the features.
    unsafe { update::<Pclmulqdq, Short, Long, 1024>(data, state) }
}

/// The state after `data`: streams, and vectors of 512 bits.
#[target_feature(enable = "avx512f,vpclmulqdq")]
pub fn avx512(data: &[u8], state: u32) -> u32 {
    type Short = Cut<Pclmulqdq, __m512i, 2, 0, 0>;
    type Long = Cut<Pclmulqdq, __m512i, 3, 3, 2>;
    if let Some((data, end)) = split_end::<Long>(data) {
        return short(end, avx512(data, state));
    }
    // SAFETY: this function has the features.
    unsafe { update::<Pclmulqdq, Short, Long, 2048>(data, state) }
}

/// SSE4.2 alone.
struct Sse42;

impl Scalar for Sse42 {
    #[inline]
    #[target_feature(enable = "sse4.2")]
    unsafe fn byte(state: u32, byte: u8) -> u32 {
        _mm_crc32_u8(state, byte)
    }

    #[inline]
    #[target_feature(enable = "sse4.2")]
    unsafe fn word(state: u32, word: u64) -> u32 {
        _mm_crc32_u64(u64::from(state), word) as u32
    }

    #[inline]
    #[target_feature(enable = "sse4.2")]
    unsafe fn product(a: u32, b: u32) -> u64 {
        polynomial::product(a, b)
    }
}

/// SSE4.2 and PCLMULQDQ.
struct Pclmulqdq;

impl Scalar for Pclmulqdq {
    #[inline]
    #[target_feature(enable = "sse4.2,pclmulqdq")]
    unsafe fn byte(state: u32, byte: u8) -> u32 {
        _mm_crc32_u8(state, byte)
    }

    #[inline]
    #[target_feature(enable = "sse4.2,pclmulqdq")]
    unsafe fn word(state: u32, word: u64) -> u32 {
        _mm_crc32_u64(u64::from(state), word) as u32
    }

    #[inline]
    #[target_feature(enable = "sse4.2,pclmulqdq")]
    unsafe fn product(a: u32, b: u32) -> u64 {
        let (a, b) = (
            _mm_cvtsi32_si128(a.cast_signed()),
            _mm_cvtsi32_si128(b.cast_signed()),
        );
        _mm_cvtsi128_si64(_mm_clmulepi64_si128::<0x00>(a, b)).cast_unsigned()
    }
}

#[inline(always)]
fn announce(from: *const u8) {
    // SAFETY: an instruction of SSE, which every CPU of this architecture has, and which does nothing
    // if there is nothing to be read.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
}

impl Vector for __m128i {
    const LANES: usize = 1;

    #[inline]
    #[target_feature(enable = "sse4.1,pclmulqdq")]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: the caller vouches for the bytes.
        unsafe { _mm_loadu_si128(from.cast()) }
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    unsafe fn broadcast([first, second]: [u64; 2]) -> Self {
        _mm_set_epi64x(second.cast_signed(), first.cast_signed())
    }

    #[inline]
    #[target_feature(enable = "sse4.1,pclmulqdq")]
    unsafe fn fold(self, factors: Self, onto: Self) -> Self {
        let first = _mm_clmulepi64_si128::<0x00>(self, factors);
        let second = _mm_clmulepi64_si128::<0x11>(self, factors);
        _mm_xor_si128(_mm_xor_si128(first, second), onto)
    }

    #[inline]
    #[target_feature(enable = "sse4.1,pclmulqdq")]
    unsafe fn sum_lanes(self) -> [u64; 2] {
        [
            _mm_cvtsi128_si64(self).cast_unsigned(),
            _mm_extract_epi64::<1>(self).cast_unsigned(),
        ]
    }

    #[inline(always)]
    fn announce(from: *const u8) {
        announce(from);
    }
}

impl Vector for __m256i {
    const LANES: usize = 2;

    #[inline]
    #[target_feature(enable = "avx2,vpclmulqdq")]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: the caller vouches for the bytes.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2,vpclmulqdq")]
    unsafe fn broadcast(pair: [u64; 2]) -> Self {
        // SAFETY: the features include those of vectors of 128 bits.
        _mm256_broadcastsi128_si256(unsafe { __m128i::broadcast(pair) })
    }

    #[inline]
    #[target_feature(enable = "avx2,vpclmulqdq")]
    unsafe fn fold(self, factors: Self, onto: Self) -> Self {
        let first = _mm256_clmulepi64_epi128::<0x00>(self, factors);
        let second = _mm256_clmulepi64_epi128::<0x11>(self, factors);
        _mm256_xor_si256(_mm256_xor_si256(first, second), onto)
    }

    #[inline]
    #[target_feature(enable = "avx2,vpclmulqdq")]
    unsafe fn sum_lanes(self) -> [u64; 2] {
        let sum = _mm_xor_si128(
            _mm256_castsi256_si128(self),
            _mm256_extracti128_si256::<1>(self),
        );
        // SAFETY: the features include those of vectors of 128 bits.
        unsafe { sum.sum_lanes() }
    }

    #[inline(always)]
    fn announce(from: *const u8) {
        announce(from);
    }
}

impl Vector for __m512i {
    const LANES: usize = 4;

    #[inline]
    #[target_feature(enable = "avx512f,vpclmulqdq")]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: the caller vouches for the bytes.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,vpclmulqdq")]
    unsafe fn broadcast(pair: [u64; 2]) -> Self {
        // SAFETY: the features include those of vectors of 128 bits.
        _mm512_broadcast_i32x4(unsafe { __m128i::broadcast(pair) })
    }

    #[inline]
    #[target_feature(enable = "avx512f,vpclmulqdq")]
    unsafe fn fold(self, factors: Self, onto: Self) -> Self {
        /// The sum of three.
        const XOR: i32 = 0x96;
        let first = _mm512_clmulepi64_epi128::<0x00>(self, factors);
        let second = _mm512_clmulepi64_epi128::<0x11>(self, factors);
        _mm512_ternarylogic_epi64::<XOR>(first, second, onto)
    }

    #[inline]
    #[target_feature(enable = "avx512f,vpclmulqdq")]
    unsafe fn sum_lanes(self) -> [u64; 2] {
        let sum = _mm256_xor_si256(
            _mm512_castsi512_si256(self),
            _mm512_extracti64x4_epi64::<1>(self),
        );
        // SAFETY: the features include those of vectors of 256 bits.
        unsafe { sum.sum_lanes() }
    }

    #[inline(always)]
    fn announce(from: *const u8) {
        announce(from);
    }
}
