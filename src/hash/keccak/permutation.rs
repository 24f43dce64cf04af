//! Keccak-f[1600] (FIPS 202, 3), once for all registers: scalar ones and vectors of several states.
#![expect(unsafe_code, reason = "instructions that not every CPU has")]
#![expect(
    clippy::inline_always,
    reason = "instructions are inlined into the function that switches them on, or called one by one"
)]

use std::hint::black_box;

use crate::hash::{DIGEST_LEN, Digest};

use super::Block;

/// 64-bit words of a state.
pub(super) const WORDS: usize = 25;
const ROUNDS: usize = 24;

/// `N` states side by side: `state[word][lane]`.
pub(super) type State<const N: usize> = [[u64; N]; WORDS];

/// The state before the first block.
pub(super) const EMPTY: State<1> = [[0]; WORDS];

/// What step iota adds, per round (FIPS 202, 3.2.5).
static ROUND_CONSTANTS: [u64; ROUNDS] = round_constants();

const fn round_constants() -> [u64; ROUNDS] {
    let mut constants = [0; ROUNDS];
    // rc: a linear feedback shift register over x^8 + x^6 + x^5 + x^4 + 1.
    let mut register = 1_u8;
    let mut at = 0;
    while at < 7 * ROUNDS {
        if register & 1 == 1 {
            constants[at / 7] |= 1 << ((1 << (at % 7)) - 1);
        }
        let carry = register >> 7;
        register = (register << 1) ^ (carry * 0x71);
        at += 1;
    }
    constants
}

/// A register with one word of each of `N` states, and what the permutation does with it.
///
/// # Safety
/// To be called where the CPU has the instructions of the implementation, in a function that
/// switches them on: everything is inlined into it.
pub(super) trait Words<const N: usize>: Copy {
    /// What theta adds to a column; a pair of registers where adding two costs no more than one.
    type Spread: Copy;

    unsafe fn load(words: &[u64; N]) -> Self;
    unsafe fn store(self, words: &mut [u64; N]);
    /// The same word for all states.
    unsafe fn splat(word: u64) -> Self;
    /// Mixes a block of each message into the first words of the states.
    unsafe fn mix(state: &mut [Self; WORDS], blocks: [&Block; N]);
    unsafe fn xor(self, other: Self) -> Self;
    /// The sum of a column.
    unsafe fn parity(column: [Self; 5]) -> Self;
    /// `left ^ right.rotate_left(1)`, to be added to a column.
    unsafe fn spread(left: Self, right: Self) -> Self::Spread;
    unsafe fn add(self, spread: Self::Spread) -> Self;
    /// As `add`, then rotated by `LEFT`, which is `64 - RIGHT`.
    unsafe fn turn<const LEFT: i32, const RIGHT: i32>(self, spread: Self::Spread) -> Self;
    /// `self ^ (!next & second)`.
    unsafe fn chi(self, next: Self, second: Self) -> Self;
}

/// On the stack of a function it makes the compiler align the frame, and with it the slots of
/// vectors that do not fit into registers. Slots across cache lines halve the speed.
#[repr(align(64))]
struct FrameAlignment;

/// Takes blocks into states: of each message as many as all of them have.
///
/// # Safety
/// See [`Words`].
#[inline(always)]
pub(super) unsafe fn absorb<W: Words<N>, const N: usize>(
    state: &mut State<N>,
    blocks: &[&[Block]; N],
) {
    if N > 1 {
        black_box(&mut (FrameAlignment, 0_u8));
    }
    let count = blocks.iter().map(|lane| lane.len()).min().unwrap_or(0);
    let blocks = blocks.map(|lane| &lane[..count]);
    // SAFETY: passed on to the caller.
    unsafe {
        let mut words = [W::splat(0); WORDS];
        for (word, place) in words.iter_mut().zip(&*state) {
            *word = W::load(place);
        }
        for step in 0..count {
            W::mix(&mut words, blocks.map(|lane| &lane[step]));
            for constant in &ROUND_CONSTANTS {
                words = round::<W, N>(&words, *constant);
            }
        }
        for (word, place) in words.iter().zip(state) {
            word.store(place);
        }
    }
}

/// One round: theta, rho, pi, chi, iota.
///
/// Word `x + 5 * y` of the state is lane (x, y) of FIPS 202. Each row of the result is made from the
/// five words that rho and pi bring there, so that few registers hold anything but the state.
#[inline(always)]
unsafe fn round<W: Words<N>, const N: usize>(a: &[W; WORDS], constant: u64) -> [W; WORDS] {
    macro_rules! column {
        ($x:literal) => {
            W::parity([a[$x], a[$x + 5], a[$x + 10], a[$x + 15], a[$x + 20]])
        };
    }
    // Per word of the row: where it comes from, what theta adds there, how far rho turns it.
    macro_rules! row {
        ([$from:literal $add:ident], $([$other:literal $added:ident $turn:literal]),+) => {
            row!(a[$from].add($add), $(a[$other].turn::<$turn, { 64 - $turn }>($added)),+)
        };
        ($([$from:literal $add:ident $turn:literal]),+) => {
            row!($(a[$from].turn::<$turn, { 64 - $turn }>($add)),+)
        };
        ($b0:expr, $b1:expr, $b2:expr, $b3:expr, $b4:expr) => {{
            let (b0, b1, b2, b3, b4) = ($b0, $b1, $b2, $b3, $b4);
            [b0.chi(b1, b2), b1.chi(b2, b3), b2.chi(b3, b4), b3.chi(b4, b0), b4.chi(b0, b1)]
        }};
    }
    // SAFETY: passed on to the caller.
    unsafe {
        let (c0, c1, c2, c3, c4) = (column!(0), column!(1), column!(2), column!(3), column!(4));
        let (d0, d1, d2) = (W::spread(c4, c1), W::spread(c0, c2), W::spread(c1, c3));
        let (d3, d4) = (W::spread(c2, c4), W::spread(c3, c0));
        let [e0, e1, e2, e3, e4] = row!([0 d0], [6 d1 44], [12 d2 43], [18 d3 21], [24 d4 14]);
        let [e5, e6, e7, e8, e9] = row!([3 d3 28], [9 d4 20], [10 d0 3], [16 d1 45], [22 d2 61]);
        let [f0, f1, f2, f3, f4] = row!([1 d1 1], [7 d2 6], [13 d3 25], [19 d4 8], [20 d0 18]);
        let [f5, f6, f7, f8, f9] = row!([4 d4 27], [5 d0 36], [11 d1 10], [17 d2 15], [23 d3 56]);
        let [g0, g1, g2, g3, g4] = row!([2 d2 62], [8 d3 55], [14 d4 39], [15 d0 41], [21 d1 2]);
        let e0 = e0.xor(W::splat(constant));
        [
            e0, e1, e2, e3, e4, e5, e6, e7, e8, e9, f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, g0, g1,
            g2, g3, g4,
        ]
    }
}

impl Words<1> for u64 {
    type Spread = Self;

    #[inline(always)]
    unsafe fn load(words: &[u64; 1]) -> Self {
        words[0]
    }

    #[inline(always)]
    unsafe fn store(self, words: &mut [u64; 1]) {
        words[0] = self;
    }

    #[inline(always)]
    unsafe fn splat(word: u64) -> Self {
        word
    }

    #[inline(always)]
    unsafe fn mix(state: &mut [Self; WORDS], blocks: [&Block; 1]) {
        for (word, bytes) in state.iter_mut().zip(blocks[0].as_chunks().0) {
            *word ^= Self::from_le_bytes(*bytes);
        }
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        self ^ other
    }

    #[inline(always)]
    unsafe fn parity(column: [Self; 5]) -> Self {
        column[0] ^ column[1] ^ column[2] ^ column[3] ^ column[4]
    }

    #[inline(always)]
    unsafe fn spread(left: Self, right: Self) -> Self {
        left ^ right.rotate_left(1)
    }

    #[inline(always)]
    unsafe fn add(self, spread: Self) -> Self {
        self ^ spread
    }

    #[inline(always)]
    unsafe fn turn<const LEFT: i32, const RIGHT: i32>(self, spread: Self) -> Self {
        (self ^ spread).rotate_left(LEFT.cast_unsigned())
    }

    #[inline(always)]
    unsafe fn chi(self, next: Self, second: Self) -> Self {
        self ^ (!next & second)
    }
}

/// As [`absorb`], with what every CPU has.
pub(super) fn absorb_portable(state: &mut State<1>, blocks: &[&[Block]; 1]) {
    // SAFETY: `u64` needs no special instructions.
    unsafe { absorb::<u64, 1>(state, blocks) }
}

/// Mixes bytes into the state of a message, without a permutation.
pub(super) fn mix(state: &mut State<1>, block: &Block) {
    for ([word], bytes) in state.iter_mut().zip(block.as_chunks().0) {
        *word ^= u64::from_le_bytes(*bytes);
    }
}

/// The digest that the state of a lane gives.
pub(super) fn digest<const N: usize>(state: &State<N>, lane: usize) -> Digest {
    let mut digest = [0; DIGEST_LEN];
    for (place, words) in digest.as_chunks_mut().0.iter_mut().zip(state) {
        *place = words[lane].to_le_bytes();
    }
    digest
}
