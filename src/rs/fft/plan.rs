//! What there is to do for `k + m` shards, worked out once.

use std::ops::Range;

use crate::rs::{
    fft::basis,
    field::{Matrix, decode_rows},
};

/// `rows[target] ^= constant * rows[source]`, on the rows of the block that is partly known.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    pub target: usize,
    pub source: usize,
    pub constant: u8,
}

/// The constants and steps of the transform for one pair of counts.
///
/// The points `0..k + m` fall into aligned blocks of `size`. Within a block the polynomial is given
/// by `size` coefficients (in the basis of [`basis`]). Each of those, seen from block to block, is the
/// value of a polynomial of its own in `y`, the scaled subspace polynomial of the block size, which
/// is constant on a block. Its degree is below the number of data blocks, so that Lagrange's formula
/// gives the coefficients of a parity block as sums over the data blocks.
#[derive(Debug, Clone)]
pub struct Plan {
    pub data_shards: usize,
    pub parity_shards: usize,
    /// Points in a block: 8 or 16.
    pub size: usize,
    /// `size` multipliers for each block, the last of them unused.
    pub multipliers: Vec<u8>,
    /// How much of each data block goes into each parity block behind the last data block.
    pub mixing: Matrix,
    /// How much of each whole data block goes into the block that data and parity share.
    pub bridge: Vec<u8>,
    /// From the values of that block's data shards and its other coefficients to all coefficients.
    pub steps: Vec<Step>,
}

impl Plan {
    /// For counts of at least 1 that sum up to at most 256.
    pub fn new(data_shards: usize, parity_shards: usize, size: usize) -> Self {
        let whole = data_shards / size;
        let data_blocks = data_shards.div_ceil(size);
        let all_blocks = (data_shards + parity_shards).div_ceil(size);
        let starts = (0..all_blocks).map(|block| block * size);
        let places: Vec<u8> = starts
            .clone()
            .map(|start| basis::value(size.trailing_zeros() as usize, start))
            .collect();
        let multipliers = starts.flat_map(|start| basis::multipliers(start, size).chain([0]));
        let bridge = decode_rows(&places[..whole], &places[whole..data_blocks]);
        let mut steps = Vec::new();
        complete(&mut steps, whole * size, 0..size, data_shards % size);
        Self {
            data_shards,
            parity_shards,
            size,
            multipliers: multipliers.collect(),
            mixing: decode_rows(&places[..data_blocks], &places[data_blocks..]),
            bridge: bridge.coefficients().to_vec(),
            steps,
        }
    }

    /// Blocks of data shards alone.
    pub fn whole_blocks(&self) -> usize {
        self.data_shards / self.size
    }

    /// Blocks with data shards, one of which may be shared with parity.
    pub fn data_blocks(&self) -> usize {
        self.data_shards.div_ceil(self.size)
    }
}

/// The work of a transform with blocks of `size`, in butterflies. The three kinds of work take about
/// the same time, all of which goes into products and moving data.
pub fn cost(data_shards: usize, parity_shards: usize, size: usize) -> usize {
    let whole = data_shards / size;
    let blocks = data_shards.div_ceil(size);
    let behind = (data_shards + parity_shards).div_ceil(size) - blocks;
    let known = data_shards % size;
    let butterflies = size / 2 * size.trailing_zeros() as usize;
    let sums = if blocks > 1 {
        behind * blocks * size
    } else {
        0
    };
    let shared = if known > 0 {
        // About as many steps as butterflies, and half of them twice.
        (size - known) * whole + butterflies * 5 / 2
    } else {
        0
    };
    (whole + behind) * butterflies + sums + shared
}

/// The truncated inverse transform: of the rows `rows`, the first `known` hold values, the others
/// coefficients; after the steps all hold coefficients. `start` is the point of row 0.
///
/// With `f` the left half of the coefficients and `g` the right one, the left half of the points
/// sees `a = f + w g`, the right one `b = a + g`. What is known on either side is brought into the
/// form that the same problem of half the size takes. The idea is that of J. van der Hoeven, "The
/// truncated Fourier transform and applications", ISSAC 2004.
fn complete(steps: &mut Vec<Step>, start: usize, rows: Range<usize>, known: usize) {
    let half = rows.len() / 2;
    if half == 0 || known == 0 {
        return;
    }
    let (left, middle) = (rows.start, rows.start + half);
    let weight = basis::value(half.trailing_zeros() as usize, start + left);
    let add = |steps: &mut Vec<Step>, target, source, constant| {
        if constant != 0 {
            steps.push(Step {
                target,
                source,
                constant,
            });
        }
    };
    if known < half {
        for row in left + known..middle {
            add(steps, row, row + half, weight);
        }
        complete(steps, start, left..middle, known);
    } else {
        complete(steps, start, left..middle, half);
        for row in left + known - half..middle {
            add(steps, row + half, row, 1);
        }
        complete(steps, start, middle..rows.end, known - half);
        for row in left..middle {
            add(steps, row + half, row, 1);
        }
    }
    for row in left..middle {
        add(steps, row, row + half, weight);
    }
}
