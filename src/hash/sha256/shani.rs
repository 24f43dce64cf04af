//! The compression function with the SHA instructions of x86, for one to three messages at a time.
//!
//! Two rounds are one instruction that waits for the two rounds before it, so a single message
//! leaves the unit idle most of the time. Messages that advance side by side fill the gaps.
#![expect(
    unsafe_code,
    reason = "SHA instructions, and blocks that each message reads by pointer"
)]
#![allow(
    clippy::wildcard_imports,
    reason = "a list of the intrinsics would repeat the code"
)]

use std::arch::x86_64::*;

use super::{BLOCK_LEN, ROUND_CONSTANTS, Schedule, State};

/// Words in big-endian order.
const SWAP_BYTES: [i8; 16] = [3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12];

/// Takes `count` blocks of each message in.
///
/// # Safety
/// The CPU has the features; each source can be read for `count` blocks.
#[target_feature(enable = "sha,sse4.1,ssse3")]
pub(super) unsafe fn compress<const N: usize>(
    states: [&mut State; N],
    mut sources: [*const u8; N],
    count: usize,
) {
    let zero = _mm_setzero_si128();
    // SAFETY: an array of 16 bytes; loads ask for no alignment.
    let order = unsafe { _mm_loadu_si128(SWAP_BYTES.as_ptr().cast()) };
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
                let bytes = unsafe { _mm_loadu_si128(sources[one].add(16 * at).cast()) };
                *words = _mm_shuffle_epi8(bytes, order);
            }
            sources[one] = sources[one].wrapping_add(BLOCK_LEN);
        }
        // Not a loop: words would have to be in memory for their places to vary.
        macro_rules! rounds {
            ($($four:literal)+) => {$(
                // SAFETY: four constants from a place that is a multiple of four below 64.
                let constants = unsafe { _mm_loadu_si128(ROUND_CONSTANTS.as_ptr().add(4 * $four).cast()) };
                for one in 0..N {
                    let words = &mut words[one];
                    if $four >= 4 {
                        words[$four % 4] = expand(
                            words[$four % 4],
                            words[($four + 1) % 4],
                            words[($four + 2) % 4],
                            words[($four + 3) % 4],
                        );
                    }
                    let sum = _mm_add_epi32(words[$four % 4], constants);
                    second[one] = _mm_sha256rnds2_epu32(second[one], first[one], sum);
                    let sum = _mm_shuffle_epi32::<0b1110>(sum);
                    first[one] = _mm_sha256rnds2_epu32(first[one], second[one], sum);
                }
            )+};
        }
        rounds!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        for one in 0..N {
            first[one] = _mm_add_epi32(first[one], before.0[one]);
            second[one] = _mm_add_epi32(second[one], before.1[one]);
        }
    }
    for one in 0..N {
        store_state(first[one], second[one], states[one]);
    }
}

/// The next four words of the schedule, from the sixteen before them.
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn expand(first: __m128i, second: __m128i, third: __m128i, fourth: __m128i) -> __m128i {
    let seven_back = _mm_alignr_epi8::<4>(fourth, third);
    let sum = _mm_add_epi32(_mm_sha256msg1_epu32(first, second), seven_back);
    _mm_sha256msg2_epu32(sum, fourth)
}

/// Takes in one block that is the same in all messages, by its schedule.
#[target_feature(enable = "sha,sse4.1,ssse3")]
pub(super) fn compress_shared<const N: usize>(states: [&mut State; N], schedule: &Schedule) {
    let zero = _mm_setzero_si128();
    let (mut first, mut second) = ([zero; N], [zero; N]);
    for one in 0..N {
        (first[one], second[one]) = load_state(states[one]);
    }
    let before = (first, second);
    for four in 0..16 {
        // SAFETY: four words from a place that is a multiple of four below 64.
        let words = unsafe { _mm_loadu_si128(schedule.as_ptr().add(4 * four).cast()) };
        for one in 0..N {
            second[one] = _mm_sha256rnds2_epu32(second[one], first[one], words);
        }
        let words = _mm_shuffle_epi32::<0b1110>(words);
        for one in 0..N {
            first[one] = _mm_sha256rnds2_epu32(first[one], second[one], words);
        }
    }
    for one in 0..N {
        let first = _mm_add_epi32(first[one], before.0[one]);
        let second = _mm_add_epi32(second[one], before.1[one]);
        store_state(first, second, states[one]);
    }
}

/// The state in the order of the instructions: words f e b a and h g d c.
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn load_state(state: &State) -> (__m128i, __m128i) {
    // SAFETY: two loads of 16 of the 32 bytes each.
    let (low, high) = unsafe {
        (
            _mm_loadu_si128(state.as_ptr().cast()),
            _mm_loadu_si128(state.as_ptr().add(4).cast()),
        )
    };
    let badc = _mm_shuffle_epi32::<0b1011_0001>(low);
    let hgfe = _mm_shuffle_epi32::<0b0001_1011>(high);
    (
        _mm_alignr_epi8::<8>(badc, hgfe),
        _mm_blend_epi16::<0xF0>(hgfe, badc),
    )
}

#[target_feature(enable = "sha,sse4.1,ssse3")]
fn store_state(first: __m128i, second: __m128i, state: &mut State) {
    let abef = _mm_shuffle_epi32::<0b0001_1011>(first);
    let dchg = _mm_shuffle_epi32::<0b1011_0001>(second);
    let low = _mm_blend_epi16::<0xF0>(abef, dchg);
    let high = _mm_alignr_epi8::<8>(dchg, abef);
    // SAFETY: two stores of 16 of the 32 bytes each.
    unsafe {
        _mm_storeu_si128(state.as_mut_ptr().cast(), low);
        _mm_storeu_si128(state.as_mut_ptr().add(4).cast(), high);
    }
}
