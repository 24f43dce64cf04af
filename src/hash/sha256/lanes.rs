//! The compression function (FIPS 180-4, 6.2.2), one message a lane: one text for a single message
//! in plain registers and for 8 and 16 in vectors.
#![expect(
    unsafe_code,
    reason = "vectors, and blocks that each lane reads by pointer"
)]
#![expect(
    clippy::inline_always,
    reason = "a call would pass vectors through memory, and lose the instructions switched on"
)]
#![expect(
    clippy::many_single_char_names,
    reason = "the standard calls the words of the state a to h"
)]

use super::{BLOCK_LEN, ROUND_CONSTANTS, Schedule};
use crate::hash::vector::{Places, Sources, Vector};
#[cfg(target_arch = "x86_64")]
use {
    super::{INITIAL, State, padding::Ending},
    crate::hash::vector::{Avx2, Avx512, MAX_LANES},
    std::mem::MaybeUninit,
};

/// The body 16 times, with the places that it names known to the compiler: a loop that it chooses
/// not to unroll keeps words in memory instead of registers.
macro_rules! unroll {
    ($at:ident => $body:block) => {
        unroll!($at => $body; 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    };
    ($at:ident => $body:block; $($value:literal)+) => {
        $(
            let $at = $value;
            $body
        )+
    };
}

/// Takes `count` blocks of each lane in; `states` are the lanes' states.
///
/// # Safety
/// The CPU has the instructions of `V`. Of the first `V::LANES`, each source can be read for
/// `count` blocks, and each state can be read and written for 32 bytes.
#[inline(always)]
pub(super) unsafe fn compress<V: Vector>(states: &Places, sources: &Sources, count: usize) {
    // SAFETY: the caller has promised what the load needs.
    let mut state = unsafe { V::load(&states.map(<*mut u8>::cast_const), 0) };
    for at in 0..count {
        // SAFETY: the caller has promised `count` readable blocks a lane.
        state = block(state, unsafe { load_block(sources, at) });
    }
    // SAFETY: the caller has promised writable states.
    unsafe { V::store(state, states) };
}

/// Takes in one block that is the same in all lanes, by its schedule.
///
/// # Safety
/// As for [`compress`] about the states.
#[inline(always)]
pub(super) unsafe fn compress_shared<V: Vector>(states: &Places, schedule: &Schedule) {
    // SAFETY: the caller has promised readable and writable states.
    unsafe {
        let before = V::load(&states.map(<*mut u8>::cast_const), 0);
        V::store(shared_block(before, schedule), states);
    }
}

/// The digests of messages that all end as `ending` says.
///
/// # Safety
/// The CPU has the instructions of `V`. Of the first `V::LANES`, each source can be read for a
/// message of that length, and each digest can be written for 32 bytes.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn digest_equal<V: Vector>(sources: &Sources, ending: &Ending, digests: &Places) {
    // SAFETY: the caller has promised that the CPU has the instructions.
    let mut state = unsafe { V::load(&[INITIAL.as_ptr().cast(); MAX_LANES], 0) };
    for at in 0..ending.body / BLOCK_LEN {
        // SAFETY: the caller has promised that many readable blocks.
        state = block(state, unsafe { load_block(sources, at) });
    }
    if ending.rest > 0 {
        let mut tails = [const { MaybeUninit::uninit() }; MAX_LANES];
        let mut pointers = *sources;
        for (pointer, tail) in pointers[..V::LANES].iter_mut().zip(&mut tails) {
            // SAFETY: the caller has promised messages of `body` and `rest` bytes.
            let filled =
                unsafe { V::fill(tail, &ending.block, pointer.add(ending.body), ending.rest) };
            *pointer = filled.as_ptr();
        }
        // SAFETY: each lane has its block.
        state = block(state, unsafe { load_block(&pointers, 0) });
    }
    if let Some(schedule) = &ending.shared {
        state = shared_block(state, schedule);
    }
    for word in &mut state {
        *word = word.swap_bytes();
    }
    // SAFETY: the caller has promised writable digests.
    unsafe { V::store(state, digests) };
}

/// The words of block `block` of each lane.
///
/// # Safety
/// The CPU has the instructions of `V`; the first `V::LANES` sources can be read up to the end of
/// that block.
#[inline(always)]
unsafe fn load_block<V: Vector>(sources: &Sources, block: usize) -> [V; 16] {
    let at = block.wrapping_mul(BLOCK_LEN);
    // SAFETY: the caller has promised 64 readable bytes a lane.
    let (first, second) = unsafe { (V::load(sources, at), V::load(sources, at + BLOCK_LEN / 2)) };
    let mut words = [first[0]; 16];
    for at in 0..8 {
        words[at] = first[at].swap_bytes();
        words[at + 8] = second[at].swap_bytes();
    }
    words
}

/// All rounds for a block of each lane.
#[inline(always)]
fn block<V: Vector>(before: [V; 8], mut words: [V; 16]) -> [V; 8] {
    let mut state = rounds(before, &words, 0);
    for from in [16, 32, 48] {
        expand(&mut words);
        state = rounds(state, &words, from);
    }
    sum(state, before)
}

/// All rounds for a block that is the same in all lanes.
#[inline(always)]
fn shared_block<V: Vector>(before: [V; 8], schedule: &Schedule) -> [V; 8] {
    let mut state = before;
    for from in [0, 16, 32, 48] {
        let words = &schedule[from..from + 16];
        unroll!(at => {
            let [a, b, c, d, e, f, g, h] = state;
            state = round([a, b, c, d, e, f, g, h.plus_word(words[at])]);
        });
    }
    sum(state, before)
}

/// Replaces 16 words of the schedule by the next 16.
#[inline(always)]
fn expand<V: Vector>(words: &mut [V; 16]) {
    unroll!(at => {
        let (near, far) = (words[(at + 1) % 16], words[(at + 14) % 16]);
        let near = near
            .rotate::<7, 25>()
            .parity(near.rotate::<18, 14>(), near.shift::<3>());
        let far = far
            .rotate::<17, 15>()
            .parity(far.rotate::<19, 13>(), far.shift::<10>());
        words[at] = words[at]
            .plus(words[(at + 9) % 16])
            .plus(near)
            .plus(far);
    });
}

/// 16 rounds, the first of which is round `from`.
#[inline(always)]
fn rounds<V: Vector>(mut state: [V; 8], words: &[V; 16], from: usize) -> [V; 8] {
    let constants = &ROUND_CONSTANTS[from..from + 16];
    unroll!(at => {
        let [a, b, c, d, e, f, g, h] = state;
        let h = h.plus(words[at].plus_word(constants[at]));
        state = round([a, b, c, d, e, f, g, h]);
    });
    state
}

/// One round; word and constant are in `h` already.
#[inline(always)]
fn round<V: Vector>([a, b, c, d, e, f, g, h]: [V; 8]) -> [V; 8] {
    let turned = e
        .rotate::<6, 26>()
        .parity(e.rotate::<11, 21>(), e.rotate::<25, 7>());
    let first = h.plus(e.choose(f, g)).plus(turned);
    let turned = a
        .rotate::<2, 30>()
        .parity(a.rotate::<13, 19>(), a.rotate::<22, 10>());
    let second = a.majority(b, c).plus(turned);
    [first.plus(second), a, b, c, d.plus(first), e, f, g]
}

#[inline(always)]
fn sum<V: Vector>(mut state: [V; 8], before: [V; 8]) -> [V; 8] {
    for at in 0..8 {
        state[at] = state[at].plus(before[at]);
    }
    state
}

/// Takes `count` blocks of one message in: the schedules of eight blocks, which do not depend on
/// each other, are made in vectors, and only the rounds in plain registers.
///
/// # Safety
/// The CPU has the instructions; `source` can be read for `count` blocks.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2")]
pub(super) unsafe fn compress_one_avx2(state: &mut State, source: *const u8, count: usize) {
    let mut schedules = [[0; Avx2::LANES]; 64];
    for start in (0..count).step_by(Avx2::LANES) {
        let blocks = Avx2::LANES.min(count - start);
        let mut sources = [source; MAX_LANES];
        for (lane, source) in sources.iter_mut().enumerate() {
            // Lanes without a block do the last one once more.
            let block = start + lane.min(blocks - 1);
            *source = source.wrapping_add(block * BLOCK_LEN);
        }
        // SAFETY: the caller has promised the instructions and that many blocks.
        let mut words = unsafe { load_block::<Avx2>(&sources, 0) };
        for from in [0, 16, 32, 48] {
            if from > 0 {
                expand(&mut words);
            }
            let places = &mut schedules[from..from + 16];
            let constants = &ROUND_CONSTANTS[from..from + 16];
            unroll!(at => { words[at].plus_word(constants[at]).to_lanes(&mut places[at]); });
        }
        for lane in 0..blocks {
            let before = *state;
            for from in [0, 16, 32, 48] {
                let words = &schedules[from..from + 16];
                unroll!(at => {
                    let [a, b, c, d, e, f, g, h] = *state;
                    *state = round([a, b, c, d, e, f, g, h.plus_word(words[at][lane])]);
                });
            }
            *state = sum(*state, before);
        }
    }
}

/// The functions above with the instructions of a vector switched on.
#[cfg(target_arch = "x86_64")]
macro_rules! with_features {
    ($features:literal, $vector:ident, $compress:ident, $digest_equal:ident) => {
        /// # Safety
        /// As for [`compress`].
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $compress(states: &Places, sources: &Sources, count: usize) {
            // SAFETY: the caller has promised it.
            unsafe { compress::<$vector>(states, sources, count) }
        }

        /// # Safety
        /// As for [`digest_equal`].
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $digest_equal(sources: &Sources, ending: &Ending, digests: &Places) {
            // SAFETY: the caller has promised it.
            unsafe { digest_equal::<$vector>(sources, ending, digests) }
        }
    };
}

#[cfg(target_arch = "x86_64")]
with_features!("avx2", Avx2, compress_avx2, digest_equal_avx2);
#[cfg(target_arch = "x86_64")]
with_features!(
    "avx512f,avx512bw",
    Avx512,
    compress_avx512,
    digest_equal_avx512
);
