//! The compression function with the SHA-256 instructions of `AArch64`, for one or two messages at
//! a time: four rounds are two instructions, and the next four wait for them.
#![expect(
    unsafe_code,
    reason = "SHA instructions, and blocks that each message reads by pointer"
)]
#![allow(
    clippy::wildcard_imports,
    reason = "a list of the intrinsics would repeat the code"
)]

use std::arch::aarch64::*;

use super::{BLOCK_LEN, ROUND_CONSTANTS, Schedule, State};

/// Takes `count` blocks of each message in.
///
/// # Safety
/// The CPU has the instructions; each source can be read for `count` blocks.
#[target_feature(enable = "neon,sha2")]
pub(super) unsafe fn compress<const N: usize>(
    states: [&mut State; N],
    mut sources: [*const u8; N],
    count: usize,
) {
    let zero = vdupq_n_u32(0);
    let (mut first, mut second) = ([zero; N], [zero; N]);
    for one in 0..N {
        (first[one], second[one]) = load_state(states[one]);
    }
    for _ in 0..count {
        let before = (first, second);
        let mut words = [[zero; 4]; N];
        for one in 0..N {
            for (at, words) in words[one].iter_mut().enumerate() {
                // SAFETY: the caller has promised `count` readable blocks.
                let bytes = unsafe { vld1q_u8(sources[one].add(16 * at)) };
                *words = vreinterpretq_u32_u8(vrev32q_u8(bytes));
            }
            sources[one] = sources[one].wrapping_add(BLOCK_LEN);
        }
        // Not a loop: words would have to be in memory for their places to vary.
        macro_rules! rounds {
            ($($four:literal)+) => {$(
                // SAFETY: four constants from a place that is a multiple of four below 64.
                let constants = unsafe { vld1q_u32(ROUND_CONSTANTS.as_ptr().add(4 * $four)) };
                for one in 0..N {
                    let words = &mut words[one];
                    let now = words[$four % 4];
                    let sum = vaddq_u32(now, constants);
                    if $four < 12 {
                        // The words of these rounds make room for those of 16 rounds later.
                        let half = vsha256su0q_u32(now, words[($four + 1) % 4]);
                        let (third, fourth) = (words[($four + 2) % 4], words[($four + 3) % 4]);
                        words[$four % 4] = vsha256su1q_u32(half, third, fourth);
                    }
                    let old = first[one];
                    first[one] = vsha256hq_u32(old, second[one], sum);
                    second[one] = vsha256h2q_u32(second[one], old, sum);
                }
            )+};
        }
        rounds!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        for one in 0..N {
            first[one] = vaddq_u32(first[one], before.0[one]);
            second[one] = vaddq_u32(second[one], before.1[one]);
        }
    }
    for one in 0..N {
        store_state(first[one], second[one], states[one]);
    }
}

/// Takes in one block that is the same in all messages, by its schedule.
#[target_feature(enable = "neon,sha2")]
pub(super) fn compress_shared<const N: usize>(states: [&mut State; N], schedule: &Schedule) {
    let zero = vdupq_n_u32(0);
    let (mut first, mut second) = ([zero; N], [zero; N]);
    for one in 0..N {
        (first[one], second[one]) = load_state(states[one]);
    }
    let before = (first, second);
    for four in 0..16 {
        // SAFETY: four words from a place that is a multiple of four below 64.
        let words = unsafe { vld1q_u32(schedule.as_ptr().add(4 * four)) };
        for one in 0..N {
            let old = first[one];
            first[one] = vsha256hq_u32(old, second[one], words);
            second[one] = vsha256h2q_u32(second[one], old, words);
        }
    }
    for one in 0..N {
        let first = vaddq_u32(first[one], before.0[one]);
        let second = vaddq_u32(second[one], before.1[one]);
        store_state(first, second, states[one]);
    }
}

/// Words a to d and e to h.
#[target_feature(enable = "neon,sha2")]
fn load_state(state: &State) -> (uint32x4_t, uint32x4_t) {
    // SAFETY: two loads of 16 of the 32 bytes each.
    unsafe { (vld1q_u32(state.as_ptr()), vld1q_u32(state.as_ptr().add(4))) }
}

#[target_feature(enable = "neon,sha2")]
fn store_state(first: uint32x4_t, second: uint32x4_t, state: &mut State) {
    // SAFETY: two stores of 16 of the 32 bytes each.
    unsafe {
        vst1q_u32(state.as_mut_ptr(), first);
        vst1q_u32(state.as_mut_ptr().add(4), second);
    }
}
