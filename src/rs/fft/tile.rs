//! The transform of all shards, a piece of each at a time: small enough for the cache.
#![expect(unsafe_code, reason = "vector loads and stores through pointers")]
#![expect(
    clippy::inline_always,
    reason = "what is inlined into the function with the instruction set is compiled for it"
)]

use std::array;

use crate::rs::fft::{
    block::{LONGEST, STRIDE, forward_block, inverse_block, mix_row},
    plan::Plan,
    vector::Vector,
};

/// Lengths that kernels are given are multiples of it: one vector of the widest kind.
pub const UNIT: usize = 64;
/// From this length on it is seen to that stores do not cross the ends of cache lines: those that do
/// cost several times what others do.
pub const ALIGNED_FROM: usize = 1024;
/// Bytes of a row that go to parity shards by way of the working memory at a time.
const STAGED: usize = 1024;

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

/// Bytes of each shard that are worked on at a time, a quarter of a megabyte in all: that fits the cache
/// of the second level, and long pieces are prefetched better than short ones.
fn chunk(rows: usize) -> usize {
    match rows {
        0..=64 => LONGEST,
        65..=128 => LONGEST / 2,
        _ => LONGEST / 4,
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
                mix_row::<V, SIZE>(rows, bridge, target, len);
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
