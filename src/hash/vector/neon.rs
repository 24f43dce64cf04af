//! Words in the vectors of AArch64: 4 lanes.
#![allow(
    clippy::wildcard_imports,
    reason = "a list of the intrinsics would repeat the code"
)]

use std::arch::aarch64::*;

use super::{Interleave, MAX_LANES, Places, Sources, Vector};

/// 4 lanes.
#[derive(Clone, Copy)]
pub(in crate::hash) struct Neon(uint32x4_t);

/// Intrinsics on vectors that exist.
macro_rules! known {
    ($value:expr) => {
        // SAFETY: a value of this type exists, so whoever made the first one has promised that the
        // CPU has its instructions.
        unsafe { $value }
    };
}

impl Interleave for Neon {
    #[inline(always)]
    fn low_words(self, other: Self) -> Self {
        known!(Self(vzip1q_u32(self.0, other.0)))
    }

    #[inline(always)]
    fn high_words(self, other: Self) -> Self {
        known!(Self(vzip2q_u32(self.0, other.0)))
    }

    #[inline(always)]
    fn low_pairs(self, other: Self) -> Self {
        known!(Self(vreinterpretq_u32_u64(vzip1q_u64(
            vreinterpretq_u64_u32(self.0),
            vreinterpretq_u64_u32(other.0)
        ))))
    }

    #[inline(always)]
    fn high_pairs(self, other: Self) -> Self {
        known!(Self(vreinterpretq_u32_u64(vzip2q_u64(
            vreinterpretq_u64_u32(self.0),
            vreinterpretq_u64_u32(other.0)
        ))))
    }
}

impl Neon {
    /// The 16 bytes at `source`.
    ///
    /// # Safety
    /// They can be read, and the CPU has NEON.
    #[inline(always)]
    unsafe fn row(source: *const u8) -> Self {
        // SAFETY: the caller has promised it; a load of bytes asks for no alignment.
        unsafe { Self(vreinterpretq_u32_u8(vld1q_u8(source))) }
    }
}

impl Vector for Neon {
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn splat(word: u32) -> Self {
        // SAFETY: the caller has promised that the CPU has the instruction.
        unsafe { Self(vdupq_n_u32(word)) }
    }

    #[inline(always)]
    unsafe fn from_lanes(words: &[u32; MAX_LANES]) -> Self {
        // SAFETY: 4 of 16 words; the caller has promised that the CPU has the instruction.
        unsafe { Self(vld1q_u32(words.as_ptr())) }
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
            // SAFETY: the caller has promised 32 writable bytes for each of 4 lanes.
            unsafe {
                vst1q_u8(places[lane], vreinterpretq_u8_u32(first[lane].0));
                vst1q_u8(places[lane].add(16), vreinterpretq_u8_u32(second[lane].0));
            }
        }
    }

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        known!(Self(vaddq_u32(self.0, other.0)))
    }

    #[inline(always)]
    fn plus_word(self, word: u32) -> Self {
        known!(Self(vaddq_u32(self.0, vdupq_n_u32(word))))
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        known!(Self(veorq_u32(self.0, other.0)))
    }

    #[inline(always)]
    fn rotate<const RIGHT: i32, const LEFT: i32>(self) -> Self {
        // Shift right and insert the bits that a shift left has left over: two instructions; half a
        // word is one.
        known!(if RIGHT == 16 {
            let halves = vrev32q_u16(vreinterpretq_u16_u32(self.0));
            Self(vreinterpretq_u32_u16(halves))
        } else {
            Self(vsriq_n_u32::<RIGHT>(vshlq_n_u32::<LEFT>(self.0), self.0))
        })
    }

    #[inline(always)]
    fn shift<const BITS: i32>(self) -> Self {
        known!(Self(vshrq_n_u32::<BITS>(self.0)))
    }

    #[inline(always)]
    fn swap_bytes(self) -> Self {
        known!(Self(vreinterpretq_u32_u8(vrev32q_u8(
            vreinterpretq_u8_u32(self.0)
        ))))
    }

    #[inline(always)]
    fn parity(self, second: Self, third: Self) -> Self {
        self.xor(second).xor(third)
    }

    #[inline(always)]
    fn choose(self, yes: Self, no: Self) -> Self {
        known!(Self(vbslq_u32(self.0, yes.0, no.0)))
    }

    #[inline(always)]
    fn majority(self, second: Self, third: Self) -> Self {
        // Where the first two agree they decide, elsewhere the third does.
        self.xor(second).choose(third, second)
    }

    #[inline(always)]
    fn xor_or_not(self, second: Self, third: Self) -> Self {
        known!(Self(veorq_u32(self.0, vornq_u32(second.0, third.0))))
    }
}
