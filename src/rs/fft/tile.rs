//! The transform over columns: a piece of every shard at a time, small enough for the cache.
#![expect(unsafe_code, reason = "vector loads and stores through pointers")]
#![expect(
    clippy::inline_always,
    reason = "what is inlined into the function with the instruction set is compiled for it"
)]

use std::array;

use crate::rs::fft::{
    butterfly::{
        Multipliers, forward_four, forward_two, inverse_first_four, inverse_four, inverse_two,
    },
    plan::Plan,
    vector::Vector,
};

/// Most bytes of each shard that are worked on at a time.
pub const CHUNK: usize = 4096;
/// How far ahead of what is loaded the shards are prefetched: there are more of them than the CPU follows
/// by itself, and it starts anew in every page.
const AHEAD: usize = 256;
/// From row to row of the working memory: not a power of two, so that the rows of a block fall into
/// different sets of the cache.
const STRIDE: usize = CHUNK + 64;
/// Lengths that kernels are given are multiples of it: one vector of the widest kind.
pub const UNIT: usize = 64;
/// From this length on it is seen to that stores do not cross the ends of cache lines: those that do
/// cost several times what others do.
pub const ALIGNED_FROM: usize = 1024;
/// Bytes of a row that go to parity shards by way of the working memory at a time.
const STAGED: usize = 1024;

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

/// The places of all shards; `len` bytes at each are what a job covers.
pub struct Shards {
    pub data: Vec<*const u8>,
    pub parity: Vec<*mut u8>,
    pub len: usize,
}

impl Shards {
    /// Moves all places on, within the shards.
    pub fn advance(&mut self, count: usize) {
        for place in &mut self.data {
            *place = place.wrapping_add(count);
        }
        for place in &mut self.parity {
            *place = place.wrapping_add(count);
        }
    }
}

/// Bytes of working memory that [`encode`] needs.
pub fn work_len(plan: &Plan) -> usize {
    // One block more: values on their way to parity shards, or that nobody asked for.
    (plan.data_blocks() + 1) * plan.size * STRIDE
}

/// Bytes of each shard that are worked on at a time: about a quarter of a megabyte in all.
fn chunk(rows: usize) -> usize {
    match rows {
        0..=64 => CHUNK,
        65..=128 => CHUNK / 2,
        _ => CHUNK / 4,
    }
}

/// Makes the parity of `shards`.
///
/// # Safety
/// The CPU has the instructions of `V`. `SIZE` is the plan's. There are as many shards as the plan
/// says, `len` bytes each, a multiple of [`UNIT`], readable for data and writable for parity. `work`
/// leads to [`work_len`] writable bytes. Parity and working memory overlap nothing.
#[inline(always)]
pub unsafe fn encode<V: Vector, const SIZE: usize>(plan: &Plan, shards: &Shards, work: *mut u8) {
    let factors = |constants: &[u8]| -> Vec<V::Factor> {
        constants
            .iter()
            .map(|&constant| V::factor(constant))
            .collect()
    };
    let multipliers = factors(&plan.multipliers);
    let (multipliers, _) = multipliers.as_chunks::<SIZE>();
    let mixing = factors(plan.mixing.coefficients());
    let bridge = factors(&plan.bridge);
    let whole = plan.whole_blocks();
    let blocks = plan.data_blocks();
    let block_rows = |block: usize| work.wrapping_add(block * SIZE * STRIDE);
    let staging = block_rows(blocks);
    let staged = V::STAGED
        && shards.len >= ALIGNED_FROM
        && shards
            .parity
            .iter()
            .any(|parity| parity.align_offset(UNIT) > 0);
    let chunk = chunk(blocks * SIZE);
    for at in (0..shards.len).step_by(chunk) {
        let len = chunk.min(shards.len - at);
        // SAFETY: all places lie within the shards and the working memory, of which the caller says
        // that they are long enough; every row is written before it is read.
        unsafe {
            for (block, multipliers) in multipliers[..whole].iter().enumerate() {
                let sources = array::from_fn(|row| shards.data[block * SIZE + row].add(at));
                let rows = block_rows(block);
                if block == 0 {
                    inverse_block::<V, SIZE, true>(&sources, rows, multipliers, len);
                } else {
                    inverse_block::<V, SIZE, false>(&sources, rows, multipliers, len);
                }
            }
            if blocks > whole {
                let data = &shards.data[whole * SIZE..];
                share::<V, SIZE>(data, at, work, &bridge, len);
                complete::<V>(plan, block_rows(whole), len);
            }
            for (block, multipliers) in multipliers.iter().enumerate().skip(whole) {
                let parity: [_; SIZE] = array::from_fn(|row| {
                    let index = (block * SIZE + row).wrapping_sub(plan.data_shards);
                    Some(shards.parity.get(index)?.wrapping_add(at))
                });
                let staging = array::from_fn(|row| staging.wrapping_add(row * STRIDE));
                let targets = if staged {
                    staging
                } else {
                    array::from_fn(|row| parity[row].unwrap_or(staging[row]))
                };
                let (rows, mixing) = match block.checked_sub(blocks) {
                    Some(index) if blocks > 1 => (work, &mixing[index * blocks..][..blocks]),
                    Some(_) => (work, &[][..]),
                    None => (block_rows(whole), &[][..]),
                };
                if !staged {
                    forward_block::<V, SIZE>(rows, mixing, multipliers, &targets, len);
                    continue;
                }
                for from in (0..len).step_by(STAGED) {
                    let count = STAGED.min(len - from);
                    let rows = rows.add(from);
                    forward_block::<V, SIZE>(rows, mixing, multipliers, &targets, count);
                    for (target, parity) in targets.into_iter().zip(parity) {
                        if let Some(parity) = parity {
                            parity.add(from).copy_from_nonoverlapping(target, count);
                        }
                    }
                }
            }
        }
    }
}

/// Values at `sources` to coefficients in `rows`. In the first block of all, `FIRST`, the multipliers on
/// the left are 0.
#[inline(always)]
unsafe fn inverse_block<V: Vector, const SIZE: usize, const FIRST: bool>(
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
                let multipliers = bottom::<V, SIZE>(multipliers, group);
                let four = if FIRST && group == 0 {
                    inverse_first_four(four, multipliers[2])
                } else {
                    inverse_four(four, multipliers)
                };
                unrolled!(4, row => places[4 * group + row] = four[row]);
            });
            unrolled!(4, row => {
                let rows = rows.add(row * STRIDE + at);
                if SIZE == 16 {
                    let four = [places[row], places[row + 4], places[row + 8], places[row + 12]];
                    let multipliers = top::<V, SIZE>(multipliers);
                    let four = if FIRST {
                        inverse_first_four(four, multipliers[2])
                    } else {
                        inverse_four(four, multipliers)
                    };
                    unrolled!(4, index => four[index].store(rows.add(4 * index * STRIDE)));
                } else {
                    let two = [places[row], places[row + 4]];
                    let two = if FIRST {
                        [two[0], two[1].xor(two[0])]
                    } else {
                        inverse_two(two, &multipliers[SIZE - 2])
                    };
                    unrolled!(2, index => two[index].store(rows.add(4 * index * STRIDE)));
                }
            });
        }
    }
}

/// The coefficients of a block, a sum over the blocks from `rows` on with the weights `mixing` (none:
/// the one block as it is), to values at `targets`.
#[inline(always)]
unsafe fn forward_block<V: Vector, const SIZE: usize>(
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
                if SIZE == 16 {
                    let four = mixed::<V, SIZE, 4>(rows, mixing);
                    let four = forward_four(four, top::<V, SIZE>(multipliers));
                    unrolled!(4, index => places[row + 4 * index] = four[index]);
                } else {
                    let two = mixed::<V, SIZE, 2>(rows, mixing);
                    let two = forward_two(two, &multipliers[SIZE - 2]);
                    unrolled!(2, index => places[row + 4 * index] = two[index]);
                }
            });
            unrolled!(SIZE / 4, group => {
                let mut four = [places[0]; 4];
                unrolled!(4, row => four[row] = places[4 * group + row]);
                let four = forward_four(four, bottom::<V, SIZE>(multipliers, group));
                unrolled!(4, row => four[row].store(targets[4 * group + row].add(at)));
            });
        }
    }
}

/// The multipliers of the two upper layers of sixteen points.
#[inline(always)]
fn top<V: Vector, const SIZE: usize>(multipliers: &[V::Factor; SIZE]) -> Multipliers<'_, V> {
    [
        &multipliers[SIZE - 2],
        &multipliers[SIZE - 4],
        &multipliers[SIZE - 3],
    ]
}

/// The multipliers of the two lower layers at a group of four points.
#[inline(always)]
fn bottom<V: Vector, const SIZE: usize>(
    multipliers: &[V::Factor; SIZE],
    group: usize,
) -> Multipliers<'_, V> {
    let (lowest, next) = multipliers.split_at(SIZE / 2);
    [&next[group], &lowest[2 * group], &lowest[2 * group + 1]]
}

/// Weighted sums over the blocks, of every fourth row from `rows` on.
#[inline(always)]
unsafe fn mixed<V: Vector, const SIZE: usize, const ROWS: usize>(
    rows: *const u8,
    mixing: &[V::Factor],
) -> [V; ROWS] {
    // SAFETY: as vouched for by the caller.
    unsafe {
        let mut sums = [V::load(rows); ROWS];
        unrolled!(ROWS, row => sums[row] = V::load(rows.add(4 * row * STRIDE)));
        let Some((first, mixing)) = mixing.split_first() else {
            return sums;
        };
        unrolled!(ROWS, row => sums[row] = sums[row].mul(first));
        let (pairs, rest) = mixing.as_chunks::<2>();
        let mut block = rows.add(SIZE * STRIDE);
        for [one, two] in pairs {
            let next = block.add(SIZE * STRIDE);
            unrolled!(ROWS, row => {
                let one = V::load(block.add(4 * row * STRIDE)).mul(one);
                let two = V::load(next.add(4 * row * STRIDE)).mul(two);
                sums[row] = sums[row].xor3(one, two);
            });
            block = next.add(SIZE * STRIDE);
        }
        for factor in rest {
            unrolled!(ROWS, row => {
                sums[row] = sums[row].xor(V::load(block.add(4 * row * STRIDE)).mul(factor));
            });
        }
        sums
    }
}

/// Fills the block behind the whole ones: data shards as they are, then coefficients, which continue
/// those of the whole blocks.
#[inline(always)]
unsafe fn share<V: Vector, const SIZE: usize>(
    data: &[*const u8],
    from: usize,
    work: *mut u8,
    bridge: &[V::Factor],
    len: usize,
) {
    for row in 0..SIZE {
        // SAFETY: as vouched for by the caller.
        unsafe {
            let rows = work.add(row * STRIDE);
            let target = rows.add(bridge.len() * SIZE * STRIDE);
            if let Some(shard) = data.get(row) {
                target.copy_from_nonoverlapping(shard.add(from), len);
            } else if bridge.is_empty() {
                target.write_bytes(0, len);
            } else {
                for at in (0..len).step_by(V::WIDTH) {
                    let [sum] = mixed::<V, SIZE, 1>(rows.add(at), bridge);
                    sum.store(target.add(at));
                }
            }
        }
    }
}

/// Takes the steps of the plan on the rows of the shared block.
#[inline(always)]
unsafe fn complete<V: Vector>(plan: &Plan, rows: *mut u8, len: usize) {
    for step in &plan.steps {
        let target = rows.wrapping_add(step.target * STRIDE);
        let source = rows.wrapping_add(step.source * STRIDE);
        let factor = V::factor(step.constant);
        for at in (0..len).step_by(V::WIDTH) {
            // SAFETY: as vouched for by the caller.
            unsafe {
                let mut product = V::load(source.add(at));
                if step.constant != 1 {
                    product = product.mul(&factor);
                }
                V::load(target.add(at)).xor(product).store(target.add(at));
            }
        }
    }
}
