//! BLAKE3 of messages that are one chunk, one message a lane: one text for all widths.
//!
//! The compression function is that of the BLAKE3 paper, 2.2; a chunk is 2.4, and the root, which a
//! message of one chunk is, 2.5.
#![expect(
    unsafe_code,
    reason = "vectors, and messages that each lane reads by pointer"
)]
#![expect(
    clippy::inline_always,
    reason = "a call would pass vectors through memory, and lose the instructions switched on"
)]

use std::mem::MaybeUninit;

use super::BLOCK_LEN;
#[cfg(target_arch = "aarch64")]
use crate::hash::vector::Neon;
#[cfg(target_arch = "x86_64")]
use crate::hash::vector::{Avx2, Avx512, Sse41};
use crate::hash::vector::{MAX_LANES, Places, Sources, Vector};

const CHUNK_START: u32 = 1;
const CHUNK_END: u32 = 2;
const ROOT: u32 = 8;

const INITIAL: [u32; 8] = [
    0x6A09_E667,
    0xBB67_AE85,
    0x3C6E_F372,
    0xA54F_F53A,
    0x510E_527F,
    0x9B05_688C,
    0x1F83_D9AB,
    0x5BE0_CD19,
];

/// Which words of the block each round takes, in this order.
const ORDERS: [[usize; 16]; 7] = orders();

/// Every round permutes the words that the one before it had.
const fn orders() -> [[usize; 16]; 7] {
    const PERMUTATION: [usize; 16] = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
    let mut orders = [[0; 16]; 7];
    let mut at = 0;
    while at < 7 * 16 {
        let (round, word) = (at / 16, at % 16);
        orders[round][word] = if round == 0 {
            word
        } else {
            orders[round - 1][PERMUTATION[word]]
        };
        at += 1;
    }
    orders
}

/// Messages of the same number of blocks, one a lane.
pub(super) struct Group {
    pub(super) sources: Sources,
    /// Bytes in the last block of each.
    pub(super) last_lens: [u32; MAX_LANES],
    /// Blocks of each, at least one.
    pub(super) blocks: usize,
    pub(super) digests: Places,
}

/// The digests of the messages of a group.
///
/// # Safety
/// The CPU has the instructions of `V`. Of the first `V::LANES`, each source can be read for
/// `blocks - 1` blocks and the bytes in the last one, at most 64, and each digest can be written
/// for 32 bytes.
#[inline(always)]
pub(super) unsafe fn digest_group<V: Vector>(group: &Group) {
    // SAFETY: the caller has promised that the CPU has the instructions.
    let (mut value, full) = unsafe {
        (
            V::load(&[INITIAL.as_ptr().cast(); MAX_LANES], 0),
            V::splat(BLOCK_LEN as u32),
        )
    };
    let mut flags = CHUNK_START;
    let last = group.blocks - 1;
    for at in 0..last {
        // SAFETY: the caller has promised that many readable blocks.
        value = unsafe {
            compress(
                value,
                load_block(&group.sources, at * BLOCK_LEN),
                full,
                flags,
            )
        };
        flags = 0;
    }
    let mut tails = [const { MaybeUninit::uninit() }; MAX_LANES];
    let mut sources = group.sources;
    for lane in 0..V::LANES {
        let len = group.last_lens[lane] as usize;
        sources[lane] = sources[lane].wrapping_add(last * BLOCK_LEN);
        if len != BLOCK_LEN {
            // SAFETY: the caller has promised that many readable bytes.
            let block = unsafe { V::fill(&mut tails[lane], &[0; BLOCK_LEN], sources[lane], len) };
            sources[lane] = block.as_ptr();
        }
    }
    // SAFETY: each source is a whole block now; the caller has promised writable digests.
    unsafe {
        let lens = V::from_lanes(&group.last_lens);
        let flags = flags | CHUNK_END | ROOT;
        value = compress(value, load_block(&sources, 0), lens, flags);
        V::store(value, &group.digests);
    }
}

/// The words of the block at `at` of each lane.
///
/// # Safety
/// The CPU has the instructions of `V`; the first `V::LANES` sources can be read up to the end of
/// that block.
#[inline(always)]
unsafe fn load_block<V: Vector>(sources: &Sources, at: usize) -> [V; 16] {
    // SAFETY: the caller has promised 64 readable bytes a lane.
    let (first, second) = unsafe { (V::load(sources, at), V::load(sources, at + BLOCK_LEN / 2)) };
    let mut words = [first[0]; 16];
    words[..8].copy_from_slice(&first);
    words[8..].copy_from_slice(&second);
    words
}

/// The next chaining value; the counter of the chunk is zero.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
unsafe fn compress<V: Vector>(value: [V; 8], words: [V; 16], lens: V, flags: u32) -> [V; 8] {
    // SAFETY: the caller has promised that the CPU has the instructions.
    let tail = unsafe {
        [
            V::splat(INITIAL[0]),
            V::splat(INITIAL[1]),
            V::splat(INITIAL[2]),
            V::splat(INITIAL[3]),
            V::splat(0),
            V::splat(0),
            lens,
            V::splat(flags),
        ]
    };
    let mut state = [lens; 16];
    state[..8].copy_from_slice(&value);
    state[8..].copy_from_slice(&tail);
    // Not a loop: every word must stay in its register.
    round(&mut state, &words, &ORDERS[0]);
    round(&mut state, &words, &ORDERS[1]);
    round(&mut state, &words, &ORDERS[2]);
    round(&mut state, &words, &ORDERS[3]);
    round(&mut state, &words, &ORDERS[4]);
    round(&mut state, &words, &ORDERS[5]);
    round(&mut state, &words, &ORDERS[6]);
    let mut value = value;
    for at in 0..8 {
        value[at] = state[at].xor(state[at + 8]);
    }
    value
}

/// Mixes the columns, then the diagonals.
#[inline(always)]
fn round<V: Vector>(state: &mut [V; 16], words: &[V; 16], order: &[usize; 16]) {
    let word = |at: usize| words[order[at]];
    mix(state, [0, 4, 8, 12], word(0), word(1));
    mix(state, [1, 5, 9, 13], word(2), word(3));
    mix(state, [2, 6, 10, 14], word(4), word(5));
    mix(state, [3, 7, 11, 15], word(6), word(7));
    mix(state, [0, 5, 10, 15], word(8), word(9));
    mix(state, [1, 6, 11, 12], word(10), word(11));
    mix(state, [2, 7, 8, 13], word(12), word(13));
    mix(state, [3, 4, 9, 14], word(14), word(15));
}

#[inline(always)]
fn mix<V: Vector>(state: &mut [V; 16], [a, b, c, d]: [usize; 4], first: V, second: V) {
    state[a] = state[a].plus(state[b]).plus(first);
    state[d] = state[d].xor(state[a]).rotate::<16, 16>();
    state[c] = state[c].plus(state[d]);
    state[b] = state[b].xor(state[c]).rotate::<12, 20>();
    state[a] = state[a].plus(state[b]).plus(second);
    state[d] = state[d].xor(state[a]).rotate::<8, 24>();
    state[c] = state[c].plus(state[d]);
    state[b] = state[b].xor(state[c]).rotate::<7, 25>();
}

/// [`digest_group`] with the instructions of a vector switched on.
macro_rules! with_features {
    ($name:ident, $vector:ident, $features:literal, $arch:literal) => {
        /// # Safety
        /// As for [`digest_group`].
        #[cfg(target_arch = $arch)]
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $name(group: &Group) {
            // SAFETY: the caller has promised it.
            unsafe { digest_group::<$vector>(group) }
        }
    };
}

with_features!(digest_group_sse41, Sse41, "ssse3,sse4.1", "x86_64");
with_features!(digest_group_avx2, Avx2, "avx2", "x86_64");
with_features!(digest_group_avx512, Avx512, "avx512f,avx512bw", "x86_64");
with_features!(digest_group_neon, Neon, "neon", "aarch64");
