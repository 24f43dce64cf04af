//! Encoding by additive Fourier transforms: for many shards far fewer products than the matrix.
//!
//! Shard `r` is `p(r)` for the polynomial `p` of degree below `k` through the data shards. The
//! points are the numbers `0, 1, 2, ...`, so that those of an aligned block form a coset of a
//! subspace of GF(2^8), on which the transform of Lin, Chung and Han ("Novel polynomial basis and its
//! application to Reed-Solomon erasure codes", FOCS 2014) goes from values to coefficients and back.
//! Data blocks are taken to coefficients, these from block to block by sums of products, and the
//! result to the values that are the parity: the bytes of the matrix code, for all counts.

#[cfg(target_arch = "x86_64")]
mod affine;
mod basis;
mod block;
mod butterfly;
mod plan;
mod shuffle;
mod tile;
mod vector;

use std::ops::Range;

use crate::{
    memory,
    rs::{
        MAX_SHARDS,
        fft::{
            plan::Plan,
            tile::{ALIGNED_FROM, Shards, UNIT},
            vector::{Twice, Word},
        },
        kernel::Kernel,
    },
};

/// Points in a block.
const SIZES: [usize; 2] = [8, 16];

/// Whether the transform makes `m` parity shards of `k` data shards in less time than the matrix, both
/// with `kernel`.
#[must_use]
pub fn pays(k: usize, m: usize, kernel: Kernel) -> bool {
    let (k, m) = within_limits(k, m);
    // Quarters of the time that the matrix takes for a product, per butterfly: the shorter the products,
    // the more the loads, stores and sums around them count. Measured on Sapphire Rapids.
    let quarters = match kernel {
        Kernel::Gfni | Kernel::Avx512 => 9,
        _ => 7,
    };
    cheapest(k, m).0 * quarters < 4 * k * m
}

fn within_limits(k: usize, m: usize) -> (usize, usize) {
    let k = k.clamp(1, MAX_SHARDS);
    (k, m.min(MAX_SHARDS - k))
}

/// The lower cost, in butterflies, of both block sizes, and the size.
fn cheapest(k: usize, m: usize) -> (usize, usize) {
    SIZES
        .map(|size| (plan::cost(k, m, size), size))
        .into_iter()
        .min()
        .unwrap_or_default()
}

/// An encoder of `k` data shards and `m` parity shards.
#[derive(Debug, Clone)]
pub struct Encoder {
    kernel: Kernel,
    plan: Plan,
}

impl Encoder {
    /// For `k >= 1` and `m >= 1` that sum up to at most 256; larger counts are cut.
    ///
    /// A kernel that is not available gives way to the scalar one.
    #[must_use]
    pub fn new(k: usize, m: usize, kernel: Kernel) -> Self {
        let (k, m) = within_limits(k, m);
        Self::with_size(k, m, kernel, cheapest(k, m).1)
    }

    /// As [`Encoder::new`], with blocks of 8 points, or else of 16.
    #[must_use]
    pub fn with_size(k: usize, m: usize, kernel: Kernel, size: usize) -> Self {
        let (k, m) = within_limits(k, m);
        Self {
            kernel: if kernel.available() {
                kernel
            } else {
                Kernel::Scalar
            },
            plan: Plan::new(k, m, if size == 8 { 8 } else { 16 }),
        }
    }

    /// `parity[j]` becomes shard `k + j` of the data shards `data[i][start..]`.
    ///
    /// Only as many bytes are made as all slices have. Too few or too many shards are a mistake of
    /// the caller: then nothing is made.
    #[expect(unsafe_code, reason = "hands places over to the kernels")]
    pub fn encode(&self, data: &[&[u8]], start: usize, parity: &mut [&mut [u8]]) {
        let data_lens = data.iter().map(|shard| shard.len().saturating_sub(start));
        let parity_lens = parity.iter().map(|shard| shard.len());
        let len = data_lens.chain(parity_lens).min().unwrap_or(0);
        if len == 0
            || [data.len(), parity.len()] != [self.plan.data_shards, self.plan.parity_shards]
        {
            return;
        }
        let mut shards = Shards {
            data: data.iter().map(|shard| shard[start..].as_ptr()).collect(),
            parity: parity.iter_mut().map(|shard| shard.as_mut_ptr()).collect(),
            len,
        };
        let head = if len < ALIGNED_FROM {
            0
        } else {
            shards.parity[0].align_offset(UNIT)
        };
        let tail = (len - head) % UNIT;
        let work_len = tile::work_len(&self.plan);
        let mut memory = memory::take();
        memory.reserve(work_len + (data.len() + parity.len()) * 2 * UNIT + UNIT);
        let work = memory.as_mut_ptr();
        let work = work.wrapping_add(work.align_offset(UNIT));
        // SAFETY: what lies within `len` was found to be within all slices, `memory` has room for the
        // working memory and two units of each shard, and mutable slices overlap nothing.
        unsafe {
            self.encode_ends(&shards, [0..head, len - tail..len], work);
            shards.advance(head);
            shards.len = len - head - tail;
            run(self.kernel, &self.plan, &shards, work);
        }
        memory::give(memory);
    }

    /// Two ranges of less than a unit, or none at all: padded, elsewhere.
    ///
    /// # Safety
    /// As for [`run`]; behind the working memory there is room for two units of each shard.
    #[expect(unsafe_code, reason = "hands places over to the kernels")]
    unsafe fn encode_ends(&self, shards: &Shards, ends: [Range<usize>; 2], work: *mut u8) {
        if ends.iter().all(Range::is_empty) {
            return;
        }
        let place = |index: usize| work.wrapping_add(tile::work_len(&self.plan) + index * 2 * UNIT);
        let data = 0..shards.data.len();
        let parity = data.end..data.end + shards.parity.len();
        let padded = Shards {
            data: data.map(|index| place(index).cast_const()).collect(),
            parity: parity.map(place).collect(),
            len: 2 * UNIT,
        };
        // SAFETY: as vouched for by the caller.
        unsafe {
            for (index, shard) in shards.data.iter().enumerate() {
                place(index).write_bytes(0, 2 * UNIT);
                for (unit, end) in ends.iter().enumerate() {
                    let target = place(index).add(unit * UNIT);
                    target.copy_from_nonoverlapping(shard.add(end.start), end.len());
                }
            }
            run(self.kernel, &self.plan, &padded, work);
            for (shard, made) in shards.parity.iter().zip(&padded.parity) {
                for (unit, end) in ends.iter().enumerate() {
                    let source = made.add(unit * UNIT);
                    shard
                        .add(end.start)
                        .copy_from_nonoverlapping(source, end.len());
                }
            }
        }
    }
}

/// Both block sizes.
macro_rules! by_size {
    ($vector:ty, $plan:ident, $shards:ident, $work:ident) => {
        if $plan.size == 8 {
            tile::encode::<$vector, 8>($plan, $shards, $work);
        } else {
            tile::encode::<$vector, 16>($plan, $shards, $work);
        }
    };
}
/// # Safety
/// The kernel is available; the rest as for [`tile::encode`].
#[expect(unsafe_code, reason = "kernels need instructions that were asked for")]
unsafe fn run(kernel: Kernel, plan: &Plan, shards: &Shards, work: *mut u8) {
    // SAFETY: as vouched for by the caller.
    unsafe {
        match kernel {
            #[cfg(target_arch = "x86_64")]
            Kernel::Ssse3 => ssse3(plan, shards, work),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => avx2(plan, shards, work),
            #[cfg(target_arch = "x86_64")]
            Kernel::Gfni => gfni(plan, shards, work),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => avx512(plan, shards, work),
            #[cfg(target_arch = "aarch64")]
            Kernel::Neon => neon(plan, shards, work),
            _ => by_size!(Word, plan, shards, work),
        }
    }
}

/// The tiles compiled for an instruction set.
macro_rules! entry {
    ($name:ident, $architecture:literal, $features:literal, $vector:ty) => {
        #[cfg(target_arch = $architecture)]
        #[target_feature(enable = $features)]
        #[expect(unsafe_code, reason = "kernels need instructions that were asked for")]
        unsafe fn $name(plan: &Plan, shards: &Shards, work: *mut u8) {
            // SAFETY: as vouched for by the caller, who has asked for the features.
            unsafe { by_size!($vector, plan, shards, work) }
        }
    };
}

entry!(ssse3, "x86_64", "ssse3", Twice<shuffle::Ssse3>);
entry!(avx2, "x86_64", "avx2", Twice<shuffle::Avx2>);
entry!(gfni, "x86_64", "avx2,gfni", Twice<affine::Gfni>);
entry!(avx512, "x86_64", "avx512f,avx512bw,gfni", affine::Avx512);
entry!(neon, "aarch64", "neon", Twice<shuffle::Neon>);
