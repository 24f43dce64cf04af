//! The permutation with the SHA-3 instructions of `AArch64`: two states at a time.
#![expect(unsafe_code, reason = "SIMD instructions")]

use std::arch::aarch64::{
    uint64x2_t, vbcaxq_u64, vcombine_u64, vcreate_u64, vdupq_n_u64, veor3q_u64, veorq_u64,
    vld1q_u64, vrax1q_u64, vst1q_u64, vxarq_u64,
};

use super::{
    Block,
    permutation::{self, State, WORDS, Words},
};

/// Two states.
#[derive(Clone, Copy)]
struct Two(uint64x2_t);

/// Takes blocks into two states.
#[target_feature(enable = "neon,sha3")]
pub(super) fn absorb_2_sha3(state: &mut State<2>, blocks: &[&[Block]; 2]) {
    // SAFETY: the instructions are enabled here.
    unsafe { permutation::absorb::<Two, 2>(state, blocks) }
}

impl Words<2> for Two {
    type Spread = Self;

    #[inline]
    #[target_feature(enable = "neon,sha3")]
    unsafe fn load(words: &[u64; 2]) -> Self {
        // SAFETY: 16 bytes that can be read.
        Self(unsafe { vld1q_u64(words.as_ptr()) })
    }

    #[inline]
    #[target_feature(enable = "neon,sha3")]
    unsafe fn store(self, words: &mut [u64; 2]) {
        // SAFETY: 16 bytes that can be written.
        unsafe { vst1q_u64(words.as_mut_ptr(), self.0) };
    }

    #[inline]
    #[target_feature(enable = "neon,sha3")]
    unsafe fn splat(word: u64) -> Self {
        Self(vdupq_n_u64(word))
    }

    #[inline]
    #[target_feature(enable = "neon,sha3")]
    unsafe fn mix(state: &mut [Self; WORDS], [first, second]: [&Block; 2]) {
        let pairs = first.as_chunks().0.iter().zip(second.as_chunks().0);
        for (word, (first, second)) in state.iter_mut().zip(pairs) {
            let first = vcreate_u64(u64::from_le_bytes(*first));
            let second = vcreate_u64(u64::from_le_bytes(*second));
            word.0 = veorq_u64(word.0, vcombine_u64(first, second));
        }
    }

    #[inline]
    #[target_feature(enable = "neon,sha3")]
    unsafe fn xor(self, other: Self) -> Self {
        Self(veorq_u64(self.0, other.0))
    }

    #[inline]
    #[target_feature(enable = "neon,sha3")]
    unsafe fn parity(column: [Self; 5]) -> Self {
        let [first, rest @ ..] = column.map(|word| word.0);
        let sum = veor3q_u64(first, rest[0], rest[1]);
        Self(veor3q_u64(sum, rest[2], rest[3]))
    }

    #[inline]
    #[target_feature(enable = "neon,sha3")]
    unsafe fn spread(left: Self, right: Self) -> Self {
        Self(vrax1q_u64(left.0, right.0))
    }

    #[inline]
    #[target_feature(enable = "neon,sha3")]
    unsafe fn add(self, spread: Self) -> Self {
        Self(veorq_u64(self.0, spread.0))
    }

    #[inline]
    #[target_feature(enable = "neon,sha3")]
    unsafe fn turn<const LEFT: i32, const RIGHT: i32>(self, spread: Self) -> Self {
        Self(vxarq_u64::<RIGHT>(self.0, spread.0))
    }

    #[inline]
    #[target_feature(enable = "neon,sha3")]
    unsafe fn chi(self, next: Self, second: Self) -> Self {
        Self(vbcaxq_u64(self.0, second.0, next.0))
    }
}
