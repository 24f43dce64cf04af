//! The compression function (RFC 1321, 3.4), one message a lane: one text for a single message in
//! plain registers and for 4, 8 and 16 in vectors.
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
    reason = "the standard calls the words of the state a to d"
)]

use super::{BLOCK_LEN, SINES};
#[cfg(target_arch = "aarch64")]
use crate::hash::vector::Neon;
#[cfg(target_arch = "x86_64")]
use crate::hash::vector::{Avx2, Avx512, Sse41};
use crate::hash::vector::{Places, Sources, Vector};

/// 16 steps that mix in one way: the word of step `i` is `factor * i + offset`, and each group of
/// four steps rotates by the same four numbers, written as bits to the right and to the left.
///
/// Not a loop: words would have to be in memory for their places to vary.
macro_rules! round {
    ($state:ident, $words:ident, $mix:ident, $from:literal, $factor:literal, $offset:literal,
     $($right:literal $left:literal),+) => {
        round!($state, $words, $mix, $from, $factor, $offset, [$($right $left),+] 0 4 8 12)
    };
    ($state:ident, $words:ident, $mix:ident, $from:literal, $factor:literal, $offset:literal,
     $shifts:tt $($four:literal)+) => {
        $(round!(@four $state, $words, $mix, $from, $factor, $offset, $four, $shifts);)+
    };
    (@four $state:ident, $words:ident, $mix:ident, $from:literal, $factor:literal, $offset:literal,
     $four:literal, [$r0:literal $l0:literal, $r1:literal $l1:literal, $r2:literal $l2:literal,
     $r3:literal $l3:literal]) => {
        round!(@step $state, $words, $mix, $from, $factor, $offset, ($four), $r0, $l0);
        round!(@step $state, $words, $mix, $from, $factor, $offset, ($four + 1), $r1, $l1);
        round!(@step $state, $words, $mix, $from, $factor, $offset, ($four + 2), $r2, $l2);
        round!(@step $state, $words, $mix, $from, $factor, $offset, ($four + 3), $r3, $l3);
    };
    (@step $state:ident, $words:ident, $mix:ident, $from:literal, $factor:literal, $offset:literal,
     $at:tt, $right:literal, $left:literal) => {
        let word = $words[($factor * $at + $offset) % 16].plus_word(SINES[$from + $at]);
        $state = step::<V, $right, $left>($state, $mix($state), word);
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
    let [a, b, c, d, rest @ ..] = unsafe { V::load(&states.map(<*mut u8>::cast_const), 0) };
    let mut state = [a, b, c, d];
    for at in 0..count {
        let at = at.wrapping_mul(BLOCK_LEN);
        // SAFETY: the caller has promised 64 readable bytes a lane.
        let halves = unsafe { [V::load(sources, at), V::load(sources, at + BLOCK_LEN / 2)] };
        state = block(state, halves);
    }
    let ([a, b, c, d], [e, f, g, h]) = (state, rest);
    // SAFETY: the caller has promised writable states.
    unsafe { V::store([a, b, c, d, e, f, g, h], states) };
}

/// All steps for a block of each lane.
#[inline(always)]
fn block<V: Vector>(before: [V; 4], halves: [[V; 8]; 2]) -> [V; 4] {
    let words = halves.as_flattened();
    let mut state = before;
    round!(state, words, mix_first, 0, 1, 0, 25 7, 20 12, 15 17, 10 22);
    round!(state, words, mix_second, 16, 5, 1, 27 5, 23 9, 18 14, 12 20);
    round!(state, words, mix_third, 32, 3, 5, 28 4, 21 11, 16 16, 9 23);
    round!(state, words, mix_fourth, 48, 7, 0, 26 6, 22 10, 17 15, 11 21);
    let [a, b, c, d] = state;
    [
        a.plus(before[0]),
        b.plus(before[1]),
        c.plus(before[2]),
        d.plus(before[3]),
    ]
}

/// One step; the word has its sine added.
#[inline(always)]
fn step<V: Vector, const RIGHT: i32, const LEFT: i32>(
    [a, b, c, d]: [V; 4],
    mixed: V,
    word: V,
) -> [V; 4] {
    // What waits for the step before comes in last.
    let sum = a.plus(word).plus(mixed);
    [d, b.plus(sum.rotate::<RIGHT, LEFT>()), b, c]
}

#[inline(always)]
fn mix_first<V: Vector>([_, b, c, d]: [V; 4]) -> V {
    b.choose(c, d)
}

#[inline(always)]
fn mix_second<V: Vector>([_, b, c, d]: [V; 4]) -> V {
    d.choose(b, c)
}

#[inline(always)]
fn mix_third<V: Vector>([_, b, c, d]: [V; 4]) -> V {
    // The first two are there before the third is.
    c.parity(d, b)
}

#[inline(always)]
fn mix_fourth<V: Vector>([_, b, c, d]: [V; 4]) -> V {
    c.xor_or_not(b, d)
}

/// The function above with the instructions of a vector switched on.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! with_features {
    ($features:literal, $vector:ident, $compress:ident) => {
        /// # Safety
        /// As for [`compress`].
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $compress(states: &Places, sources: &Sources, count: usize) {
            // SAFETY: the caller has promised it.
            unsafe { compress::<$vector>(states, sources, count) }
        }
    };
}

#[cfg(target_arch = "x86_64")]
with_features!("ssse3,sse4.1", Sse41, compress_sse41);
#[cfg(target_arch = "x86_64")]
with_features!("avx2", Avx2, compress_avx2);
#[cfg(target_arch = "x86_64")]
with_features!("avx512f,avx512bw", Avx512, compress_avx512);
#[cfg(target_arch = "aarch64")]
with_features!("neon", Neon, compress_neon);
