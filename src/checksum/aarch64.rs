//! CRC32C by the instructions of the CRC32 and PMULL extensions of AArch64.

#![expect(unsafe_code, reason = "instructions that not every CPU has")]

use std::arch::aarch64::{
    __crc32cb, __crc32cd, uint64x2_t, vcombine_u64, vcreate_u64, veorq_u64, vgetq_lane_u64,
    vld1q_u8, vmull_p64, vreinterpretq_u64_p128, vreinterpretq_u64_u8,
};

use super::{
    fused::{Cut, Scalar, Vector, serial, split_end, update},
    polynomial,
};

/// Below this, multiplying without an instruction for it costs more than three streams save.
const STREAMS_FROM: usize = 1024;

/// The state after `data`, word by word.
#[target_feature(enable = "crc")]
pub fn short(data: &[u8], state: u32) -> u32 {
    // SAFETY: this function has the features.
    unsafe { serial::<Crc>(data, state) }
}

/// The state after `data`: three streams.
#[target_feature(enable = "crc")]
pub fn crc(data: &[u8], state: u32) -> u32 {
    type Streams = Cut<Crc, uint64x2_t, 0, 3, 4>;
    if data.len() < STREAMS_FROM {
        return short(data, state);
    }
    // SAFETY: this function has the features; without vectors, PMULL is not used.
    unsafe { update::<Crc, Streams, Streams, 0>(data, state) }
}

/// The state after `data`: streams and vectors.
#[target_feature(enable = "crc,neon,aes")]
pub fn pmull(data: &[u8], state: u32) -> u32 {
    type Short = Cut<Pmull, uint64x2_t, 1, 3, 2>;
    type Long = Cut<Pmull, uint64x2_t, 4, 3, 3>;
    if let Some((data, end)) = split_end::<Long>(data) {
        return short(end, pmull(data, state));
    }
    // SAFETY: this function has the features.
    unsafe { update::<Pmull, Short, Long, 1024>(data, state) }
}

/// The CRC32 extension alone.
struct Crc;

impl Scalar for Crc {
    #[inline]
    #[target_feature(enable = "crc")]
    unsafe fn byte(state: u32, byte: u8) -> u32 {
        __crc32cb(state, byte)
    }

    #[inline]
    #[target_feature(enable = "crc")]
    unsafe fn word(state: u32, word: u64) -> u32 {
        __crc32cd(state, word)
    }

    #[inline]
    #[target_feature(enable = "crc")]
    unsafe fn product(a: u32, b: u32) -> u64 {
        polynomial::product(a, b)
    }
}

/// The CRC32 and PMULL extensions.
struct Pmull;

impl Scalar for Pmull {
    #[inline]
    #[target_feature(enable = "crc,neon,aes")]
    unsafe fn byte(state: u32, byte: u8) -> u32 {
        __crc32cb(state, byte)
    }

    #[inline]
    #[target_feature(enable = "crc,neon,aes")]
    unsafe fn word(state: u32, word: u64) -> u32 {
        __crc32cd(state, word)
    }

    #[inline]
    #[target_feature(enable = "crc,neon,aes")]
    unsafe fn product(a: u32, b: u32) -> u64 {
        vmull_p64(u64::from(a), u64::from(b)) as u64
    }
}

impl Vector for uint64x2_t {
    const LANES: usize = 1;

    #[inline]
    #[target_feature(enable = "neon,aes")]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: the caller vouches for the bytes; bytes need no alignment.
        unsafe { vreinterpretq_u64_u8(vld1q_u8(from)) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn broadcast([first, second]: [u64; 2]) -> Self {
        vcombine_u64(vcreate_u64(first), vcreate_u64(second))
    }

    #[inline]
    #[target_feature(enable = "neon,aes")]
    unsafe fn fold(self, factors: Self, onto: Self) -> Self {
        let first = vmull_p64(vgetq_lane_u64::<0>(self), vgetq_lane_u64::<0>(factors));
        let second = vmull_p64(vgetq_lane_u64::<1>(self), vgetq_lane_u64::<1>(factors));
        let (first, second) = (
            vreinterpretq_u64_p128(first),
            vreinterpretq_u64_p128(second),
        );
        veorq_u64(veorq_u64(first, second), onto)
    }

    #[inline]
    #[target_feature(enable = "neon,aes")]
    unsafe fn sum_lanes(self) -> [u64; 2] {
        [vgetq_lane_u64::<0>(self), vgetq_lane_u64::<1>(self)]
    }
}
