//! One algorithm for all CPUs that have instructions for CRC32C.
//!
//! Two units of a CPU can work on checksums: the one of the checksum instruction (8 bytes a cycle,
//! but each waits three cycles for the one before) and the one of carry-less multiplication. To keep
//! both busy, a block is cut into several streams for the first and a run of vectors for the second,
//! and one loop feeds all of them:
//!
//! ```text
//! | stream 0 | stream 1 | stream 2 |          vectors          |
//! ```
//!
//! Each stream has a checksum of its own. The vectors are folded: `V` of them stay in registers, and
//! each is multiplied by `x` to the power of their common width and added to the one that lies there.
//! At the end everything is moved to the end of the block by one multiplication each and added up.
//!
//! Sources: V. Gopal and others, "Fast CRC Computation for iSCSI Polynomial Using CRC32 Instruction"
//! (Intel, 2011) for the streams, and "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ
//! Instruction" (Intel, 2009) for the folding. Doing both at once, and the notation for how much of
//! each, is known from P. Cawley's fast-crc32.

#![expect(
    unsafe_code,
    reason = "unaligned loads; instructions that not every CPU has"
)]
#![expect(
    clippy::inline_always,
    reason = "code gets the target features of the function that it is inlined into"
)]

use std::marker::PhantomData;

use super::polynomial::{BEFORE_REDUCTION, power, times};

/// Instructions on checksums.
pub trait Scalar {
    /// The state after one more byte.
    ///
    /// # Safety
    /// The CPU has the instructions of the implementation.
    unsafe fn byte(state: u32, byte: u8) -> u32;

    /// The state after eight more bytes, the first of them lowest.
    ///
    /// # Safety
    /// The CPU has the instructions of the implementation.
    unsafe fn word(state: u32, word: u64) -> u32;

    /// The carry-less product.
    ///
    /// # Safety
    /// The CPU has the instructions of the implementation.
    unsafe fn product(a: u32, b: u32) -> u64;
}

/// A register of 128-bit lanes. In each, the first eight bytes hold the higher powers of `x`.
pub trait Vector: Copy {
    /// Lanes in a register, at most [`MOST_LANES`].
    const LANES: usize;

    /// The bytes at `from`.
    ///
    /// # Safety
    /// The CPU has the instructions, and `16 * LANES` bytes at `from` may be read.
    unsafe fn load(from: *const u8) -> Self;

    /// The pair in every lane.
    ///
    /// # Safety
    /// The CPU has the instructions of the implementation.
    unsafe fn broadcast(pair: [u64; 2]) -> Self;

    /// In every lane: the first half times the first factor, plus the second half times the second
    /// factor, plus `onto`.
    ///
    /// # Safety
    /// The CPU has the instructions of the implementation.
    unsafe fn fold(self, factors: Self, onto: Self) -> Self;

    /// The sum of all lanes, as its two halves.
    ///
    /// # Safety
    /// The CPU has the instructions of the implementation.
    unsafe fn sum_lanes(self) -> [u64; 2];

    /// Says that what is at `from` will be read soon, if there is anything.
    #[inline(always)]
    fn announce(_from: *const u8) {}
}

/// Lanes of the widest register there is.
pub const MOST_LANES: usize = 4;

/// Rounds of a full block. All that depends on the number of rounds comes from a table.
const MOST_ROUNDS: usize = 64;

/// From this length on, vectors are loaded from multiples of their width: an unaligned one reads two
/// lines of the cache, which hurts where they come from beyond its first level.
const ALIGNED_FROM: usize = 4096;

/// From this length on, vectors are announced before they are loaded. The jumps from one block to the
/// next confuse the prefetchers of CPUs, which costs almost half of the speed from memory.
const ANNOUNCED_FROM: usize = 256 << 10;
/// How long before, in bytes.
const AHEAD: usize = 4096;
/// Bytes of a line of the cache.
const CACHE_LINE: usize = 64;

/// Work on blocks of a certain cut.
pub trait Blocks {
    /// Bytes of a round; a block has 1 to [`MOST_ROUNDS`] of them.
    const ROUND: usize;
    /// Bytes of a vector.
    const WIDTH: usize;

    /// The state after `data`, whose length is a multiple of [`Blocks::ROUND`].
    ///
    /// # Safety
    /// The CPU has the instructions of the implementation.
    unsafe fn update(data: &[u8], state: u32) -> u32;
}

/// Cuts off the end, if `data` is long and does not end at a multiple of a vector of `Long`.
///
/// The vectors of what is left are aligned, because blocks end with them.
#[inline(always)]
pub fn split_end<Long: Blocks>(data: &[u8]) -> Option<(&[u8], &[u8])> {
    if data.len() < ALIGNED_FROM {
        return None;
    }
    let end = data.as_ptr_range().end.addr() % Long::WIDTH;
    (end != 0).then(|| data.split_at(data.len() - end))
}

/// The state after `data`: from `FROM` bytes on as much as possible by `Long`; of what is left as
/// much as possible by `Short`, the rest word by word, all of that at the beginning.
///
/// The beginning costs little time: the state is added only at the end of a block, until when the
/// CPU works on both.
///
/// # Safety
/// The CPU has the instructions of `C`, `Short` and `Long`.
#[inline(always)]
pub unsafe fn update<C: Scalar, Short: Blocks, Long: Blocks, const FROM: usize>(
    data: &[u8],
    state: u32,
) -> u32 {
    let left = if data.len() < FROM {
        data.len()
    } else {
        data.len() % Long::ROUND
    };
    let (data, long) = data.split_at(left);
    let (first, short) = data.split_at(data.len() % Short::ROUND);
    // SAFETY: the caller vouches for the instructions; the lengths are multiples of the rounds.
    unsafe { Long::update(long, Short::update(short, serial::<C>(first, state))) }
}

/// The state after `data`, word by word.
///
/// # Safety
/// The CPU has the instructions of `C`.
#[inline(always)]
pub unsafe fn serial<C: Scalar>(data: &[u8], mut state: u32) -> u32 {
    let (words, rest) = data.as_chunks::<8>();
    for word in words {
        // SAFETY: as the caller says.
        state = unsafe { C::word(state, u64::from_le_bytes(*word)) };
    }
    if rest.is_empty() {
        return state;
    }
    let Some(last) = data.last_chunk::<8>() else {
        // SAFETY: as the caller says.
        return rest
            .iter()
            .fold(state, |state, &byte| unsafe { C::byte(state, byte) });
    };
    // As a word that begins with zeros: from the state 0 these change nothing. What the state has
    // beyond the bytes that are left stays as it is.
    let bits = 8 * rest.len() as u32;
    let zeros = 64 - bits;
    let word = (u64::from_le_bytes(*last) >> zeros) ^ u64::from(state);
    let beyond = (u64::from(state) >> bits) as u32;
    // SAFETY: as the caller says.
    unsafe { C::word(0, word << zeros) ^ beyond }
}

/// Blocks of `S` streams, `W` words of each a round, and `V` vectors a round.
pub struct Cut<C, R, const V: usize, const S: usize, const W: usize>(PhantomData<(C, R)>);

impl<C: Scalar, R: Vector, const V: usize, const S: usize, const W: usize> Cut<C, R, V, S, W> {
    /// Bytes of a round in one stream.
    const STREAM: usize = 8 * W;
    /// Bytes of a round in the vectors.
    const VECTORS: usize = V * Self::WIDTH;

    /// For a block of so many rounds: what moves the state before it to its end, and each stream.
    const FACTORS: &'static [(u32, [u32; S]); MOST_ROUNDS + 1] = &{
        let mut factors =
            [(power(BEFORE_REDUCTION), [power(BEFORE_REDUCTION); S]); MOST_ROUNDS + 1];
        let round = over(Self::ROUND, 0);
        let mut rounds = 1;
        while rounds <= MOST_ROUNDS {
            factors[rounds].0 = times(factors[rounds - 1].0, round);
            let mut stream = 0;
            while stream < S {
                let behind = over((S - 1 - stream) * Self::STREAM + Self::VECTORS, 0);
                factors[rounds].1[stream] = times(factors[rounds - 1].1[stream], behind);
                stream += 1;
            }
            rounds += 1;
        }
        factors
    };

    /// What moves a vector to where the one of the next round lies.
    const NEXT: [u64; 2] = lane_factors(Self::VECTORS);

    /// What moves each lane of each of the last vectors to the end of the block.
    const LAST: &'static [[[u64; 2]; MOST_LANES]; V] = &{
        let mut last = [[[0; 2]; MOST_LANES]; V];
        let mut vector = 0;
        while vector < V {
            let mut lane = 0;
            while lane < R::LANES {
                let behind = (V - 1 - vector) * R::LANES + R::LANES - 1 - lane;
                last[vector][lane] = lane_factors(16 * behind);
                lane += 1;
            }
            vector += 1;
        }
        last
    };

    /// The state after one block.
    ///
    /// # Safety
    /// The CPU has the instructions of `C` and `R`; `rounds * ROUND` bytes at `data` may be read,
    /// and `rounds` is 1 to [`MOST_ROUNDS`].
    #[inline(always)]
    unsafe fn block<const ANNOUNCE: bool>(data: *const u8, rounds: usize, state: u32) -> u32 {
        let stream_len = rounds * Self::STREAM;
        let mut streams = [0; S];
        // SAFETY: all pointers stay within the block, whose first part are the streams, and whose
        // rest are the vectors; the caller vouches for the instructions.
        unsafe {
            let mut words = data;
            let mut vectors = data.add(S * stream_len);
            let mut folded = [R::broadcast([0; 2]); V];
            for (at, folded) in folded.iter_mut().enumerate() {
                *folded = R::load(vectors.add(at * Self::WIDTH));
            }
            let next = R::broadcast(Self::NEXT);
            for _ in 1..rounds {
                vectors = vectors.add(Self::VECTORS);
                if ANNOUNCE {
                    for line in (0..Self::VECTORS).step_by(CACHE_LINE) {
                        R::announce(vectors.wrapping_add(AHEAD + line));
                    }
                }
                for (at, folded) in folded.iter_mut().enumerate() {
                    *folded = folded.fold(next, R::load(vectors.add(at * Self::WIDTH)));
                }
                Self::feed(&mut streams, words, stream_len);
                words = words.add(Self::STREAM);
            }
            Self::feed(&mut streams, words, stream_len);
            Self::join(&folded, &streams, rounds, state)
        }
    }

    /// Takes one round of words into each stream; those of the first one are at `words`.
    ///
    /// # Safety
    /// The CPU has the instructions of `C`; the words of all streams may be read.
    #[inline(always)]
    unsafe fn feed(streams: &mut [u32; S], words: *const u8, stream_len: usize) {
        for word in 0..W {
            for (at, state) in streams.iter_mut().enumerate() {
                // SAFETY: as the caller says.
                unsafe {
                    let word = words.add(at * stream_len + 8 * word).cast::<[u8; 8]>();
                    *state = C::word(*state, u64::from_le_bytes(word.read()));
                }
            }
        }
    }

    /// The state after a block, from the state before it and what became of its parts.
    ///
    /// # Safety
    /// The CPU has the instructions of `C` and `R`.
    #[inline(always)]
    unsafe fn join(folded: &[R; V], streams: &[u32; S], rounds: usize, state: u32) -> u32 {
        let (whole, behind) = &Self::FACTORS[rounds];
        // SAFETY: as the caller says; a row of `LAST` has the bytes of a vector.
        unsafe {
            let mut sum = C::product(state, *whole);
            // Without vectors the last stream ends where the block does.
            let moved = if V == 0 { S - 1 } else { S };
            for at in 0..moved {
                sum ^= C::product(streams[at], behind[at]);
            }
            if V == 0 {
                return C::word(0, sum) ^ streams[S - 1];
            }
            let mut lanes = R::broadcast([0; 2]);
            for (folded, factors) in folded.iter().zip(Self::LAST) {
                lanes = folded.fold(R::load(factors.as_ptr().cast()), lanes);
            }
            let [first, second] = lanes.sum_lanes();
            C::word(C::word(0, first), second ^ sum)
        }
    }
}

impl<C: Scalar, R: Vector, const V: usize, const S: usize, const W: usize> Blocks
    for Cut<C, R, V, S, W>
{
    const ROUND: usize = S * Self::STREAM + Self::VECTORS;
    const WIDTH: usize = 16 * R::LANES;

    #[inline(always)]
    unsafe fn update(data: &[u8], mut state: u32) -> u32 {
        // The odd block comes first: what follows keeps the alignment of the end.
        let mut rest = data;
        let mut rounds = data.len() / Self::ROUND % MOST_ROUNDS;
        if rounds == 0 {
            rounds = MOST_ROUNDS;
        }
        while let Some((block, after)) = rest.split_at_checked(rounds * Self::ROUND) {
            // SAFETY: `block` has that many rounds; the caller vouches for the instructions.
            state = unsafe {
                if data.len() < ANNOUNCED_FROM {
                    Self::block::<false>(block.as_ptr(), rounds, state)
                } else {
                    Self::block::<true>(block.as_ptr(), rounds, state)
                }
            };
            rest = after;
            rounds = MOST_ROUNDS;
        }
        state
    }
}

/// `x` to the power of `bytes` bytes and some bits.
const fn over(bytes: usize, bits: i64) -> u32 {
    power(8 * bytes.cast_signed() as i64 + bits)
}

/// What moves the halves of a lane over so many bytes.
///
/// As for a state (see [`BEFORE_REDUCTION`]), in registers of 64 bits, where a factor in the lower
/// half counts `x^32` times; the first half has the second one behind it, too.
const fn lane_factors(bytes: usize) -> [u64; 2] {
    [
        over(bytes, 64 + BEFORE_REDUCTION) as u64,
        over(bytes, BEFORE_REDUCTION) as u64,
    ]
}
