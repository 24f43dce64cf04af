//! The transform of one block of 8 or 16 points.
//!
//! Layers are taken two at a time: first those that connect neighbours, then those that connect every
//! fourth point, or the other way round. In between, what does not fit the registers is on the
//! stack. Shards are loaded and stored by whole cache lines, four shards at a time.
#![expect(unsafe_code, reason = "vector loads and stores through pointers")]
#![expect(
    clippy::inline_always,
    reason = "what is inlined into the function with the instruction set is compiled for it"
)]

use crate::rs::fft::{
    butterfly::{
        Multipliers, forward_four, forward_two, inverse_first_four, inverse_four, inverse_two,
    },
    vector::Vector,
};

/// How far ahead of what is loaded the shards are prefetched: there are more of them than the CPU follows
/// by itself, and it starts anew in every page.
const AHEAD: usize = 256;

/// Most bytes of a row in the working memory.
pub const LONGEST: usize = 4096;
/// From row to row of the working memory: not a power of two, so that the rows of a block fall into
/// different sets of the cache.
pub const STRIDE: usize = LONGEST + 64;

/// A statement for each index below a constant count of at most 4, written out: vectors in arrays
/// stay in registers only if no index is left to be computed.
macro_rules! unrolled {
    ($count:expr, $index:ident => $statement:expr) => {
        unrolled!(@ $count, $index, $statement, 0 1 2 3)
    };
    (@ $count:expr, $name:ident, $statement:expr, $($index:literal)*) => {
        $(if $count > $index {
            let $name = $index;
            $statement;
        })*
    };
}

/// Values at `sources` to coefficients in `rows`. In the first block of all, `FIRST`, the multipliers on
/// the left are 0.
///
/// # Safety
/// The CPU has the instructions of `V`; `SIZE` is 8 or 16; there are `len` bytes, a multiple of a
/// vector, at every source and in every row.
#[inline(always)]
pub unsafe fn inverse_block<V: Vector, const SIZE: usize, const FIRST: bool>(
    sources: &[*const u8; SIZE],
    rows: *mut u8,
    multipliers: &[V::Factor; SIZE],
    len: usize,
) {
    for at in (0..len).step_by(V::WIDTH) {
        // SAFETY: as vouched for by the caller.
        unsafe {
            let mut places = [V::load(sources[0].add(at)); SIZE];
            unrolled!(SIZE / 4, group => {
                let mut four = [places[0]; 4];
                unrolled!(4, row => {
                    let source = sources[4 * group + row].wrapping_add(at);
                    V::prefetch(source.wrapping_add(AHEAD));
                    four[row] = V::load(source);
                });
                let multipliers = neighbours::<V, SIZE>(multipliers, group);
                let four = if FIRST && group == 0 {
                    inverse_first_four(four, multipliers[2])
                } else {
                    inverse_four(four, multipliers)
                };
                unrolled!(4, row => places[4 * group + row] = four[row]);
            });
            unrolled!(4, row => {
                let mut column = [places[row]; 4];
                unrolled!(SIZE / 4, index => column[index] = places[row + 4 * index]);
                let column = inverse_column::<V, SIZE, FIRST>(column, multipliers);
                let rows = rows.add(row * STRIDE + at);
                unrolled!(SIZE / 4, index => column[index].store(rows.add(4 * index * STRIDE)));
            });
        }
    }
}

/// The coefficients of a block, a sum over the blocks from `rows` on with the weights `mixing` (none:
/// the one block as it is), to values at `targets`.
///
/// # Safety
/// As for [`inverse_block`].
#[inline(always)]
pub unsafe fn forward_block<V: Vector, const SIZE: usize>(
    rows: *const u8,
    mixing: &[V::Factor],
    multipliers: &[V::Factor; SIZE],
    targets: &[*mut u8; SIZE],
    len: usize,
) {
    for at in (0..len).step_by(V::WIDTH) {
        // SAFETY: as vouched for by the caller.
        unsafe {
            let mut places = [V::load(rows); SIZE];
            unrolled!(4, row => {
                let rows = rows.add(row * STRIDE + at);
                let column = mixed::<V, SIZE>(rows, mixing);
                let column = forward_column::<V, SIZE>(column, multipliers);
                unrolled!(SIZE / 4, index => places[row + 4 * index] = column[index]);
            });
            unrolled!(SIZE / 4, group => {
                let mut four = [places[0]; 4];
                unrolled!(4, row => four[row] = places[4 * group + row]);
                let four = forward_four(four, neighbours::<V, SIZE>(multipliers, group));
                unrolled!(4, row => four[row].store(targets[4 * group + row].add(at)));
            });
        }
    }
}

/// The layers from the third on, at every fourth point: two or four of them.
#[inline(always)]
unsafe fn inverse_column<V: Vector, const SIZE: usize, const FIRST: bool>(
    [a, b, c, d]: [V; 4],
    multipliers: &[V::Factor; SIZE],
) -> [V; 4] {
    // SAFETY: as vouched for by the caller.
    unsafe {
        match (SIZE, FIRST) {
            (8, true) => [a, b.xor(a), c, d],
            (8, false) => {
                let [a, b] = inverse_two([a, b], &multipliers[SIZE - 2]);
                [a, b, c, d]
            }
            (_, true) => inverse_first_four([a, b, c, d], distant::<V, SIZE>(multipliers)[2]),
            (_, false) => inverse_four([a, b, c, d], distant::<V, SIZE>(multipliers)),
        }
    }
}

/// The way back from [`inverse_column`].
#[inline(always)]
unsafe fn forward_column<V: Vector, const SIZE: usize>(
    [a, b, c, d]: [V; 4],
    multipliers: &[V::Factor; SIZE],
) -> [V; 4] {
    // SAFETY: as vouched for by the caller.
    unsafe {
        if SIZE == 8 {
            let [a, b] = forward_two([a, b], &multipliers[SIZE - 2]);
            return [a, b, c, d];
        }
        forward_four([a, b, c, d], distant::<V, SIZE>(multipliers))
    }
}

/// The multipliers of the two lowest layers at a group of four points.
#[inline(always)]
fn neighbours<V: Vector, const SIZE: usize>(
    multipliers: &[V::Factor; SIZE],
    group: usize,
) -> Multipliers<'_, V> {
    let (lowest, next) = multipliers.split_at(SIZE / 2);
    [&next[group], &lowest[2 * group], &lowest[2 * group + 1]]
}

/// The multipliers of the third and fourth layer of sixteen points.
#[inline(always)]
fn distant<V: Vector, const SIZE: usize>(multipliers: &[V::Factor; SIZE]) -> Multipliers<'_, V> {
    [
        &multipliers[SIZE - 2],
        &multipliers[SIZE - 4],
        &multipliers[SIZE - 3],
    ]
}

/// Weighted sums over the blocks (no weights: the one block as it is), of every fourth row of a block from
/// `rows` on: two or four of them.
#[inline(always)]
unsafe fn mixed<V: Vector, const SIZE: usize>(rows: *const u8, mixing: &[V::Factor]) -> [V; 4] {
    // SAFETY: as vouched for by the caller.
    unsafe {
        let mut sums = [V::load(rows); 4];
        unrolled!(SIZE / 4, row => sums[row] = V::load(rows.add(4 * row * STRIDE)));
        let Some((first, mixing)) = mixing.split_first() else {
            return sums;
        };
        unrolled!(SIZE / 4, row => sums[row] = sums[row].mul(first));
        let (pairs, rest) = mixing.as_chunks::<2>();
        let mut block = rows.add(SIZE * STRIDE);
        for [one, two] in pairs {
            let next = block.add(SIZE * STRIDE);
            unrolled!(SIZE / 4, row => {
                let one = V::load(block.add(4 * row * STRIDE)).mul(one);
                let two = V::load(next.add(4 * row * STRIDE)).mul(two);
                sums[row] = sums[row].xor3(one, two);
            });
            block = next.add(SIZE * STRIDE);
        }
        for factor in rest {
            unrolled!(SIZE / 4, row => {
                sums[row] = sums[row].xor(V::load(block.add(4 * row * STRIDE)).mul(factor));
            });
        }
        sums
    }
}

/// The weighted sum of one row over the blocks, for `len` bytes.
///
/// # Safety
/// As for [`inverse_block`]; there is a block of rows for each weight, and at least one.
#[inline(always)]
pub unsafe fn mix_row<V: Vector, const SIZE: usize>(
    row: *const u8,
    mixing: &[V::Factor],
    target: *mut u8,
    len: usize,
) {
    for at in (0..len).step_by(V::WIDTH) {
        // SAFETY: as vouched for by the caller.
        unsafe {
            let mut place = row.add(at);
            let mut sum = V::load(place).mul(&mixing[0]);
            for factor in &mixing[1..] {
                place = place.add(SIZE * STRIDE);
                sum = sum.xor(V::load(place).mul(factor));
            }
            sum.store(target.add(at));
        }
    }
}
