//! The polynomials that the additive transform is built on.
//!
//! `V_i` is the subspace `0..2^i` of GF(2^8). The polynomial `s_i(x)`, the product of `x ^ a` over
//! all `a` in `V_i`, is linear over GF(2) and constant on every coset of `V_i`. Scaled so that its
//! value at `2^i` is 1, it is what the butterflies of layer `i` multiply by. Source: S.-J. Lin,
//! W.-H. Chung, Y. S. Han, "Novel polynomial basis and its application to Reed-Solomon erasure
//! codes", FOCS 2014, sections II and III.

use crate::rs::field::{EXP, LOG};

const LAYERS: usize = 8;

/// `VALUES[i][x]` is the scaled polynomial of layer `i` at `x`.
static VALUES: [[u8; 256]; LAYERS] = values();

const fn values() -> [[u8; 256]; LAYERS] {
    let mut values = [[0; 256]; LAYERS];
    let mut point = 0;
    while point < 256 {
        values[0][point] = point as u8;
        point += 1;
    }
    let mut layer = 1;
    while layer < LAYERS {
        // s_(i+1)(x) = s_i(x) * s_i(x ^ 2^i), which in terms of the scaled one is y * (y ^ 1), to be
        // scaled again.
        let below = values[layer - 1];
        let scale = grown(below[1 << layer]);
        let mut point = 0;
        while point < 256 {
            let value = grown(below[point]);
            if value != 0 {
                let logarithm = 255 + LOG[value as usize] as usize - LOG[scale as usize] as usize;
                values[layer][point] = EXP[logarithm];
            }
            point += 1;
        }
        layer += 1;
    }
    values
}

/// `y * (y ^ 1)`.
const fn grown(y: u8) -> u8 {
    if y < 2 {
        return 0;
    }
    EXP[LOG[y as usize] as usize + LOG[(y ^ 1) as usize] as usize]
}

/// The polynomial of layer `layer`, which is below 8, at `point`, which is below 256.
pub fn value(layer: usize, point: usize) -> u8 {
    VALUES[layer][point]
}

/// The multipliers of a transform of `size` points from `start` on, a multiple of `size`: those of
/// layer 0 first, and within a layer from the left; one less than points.
pub fn multipliers(start: usize, size: usize) -> impl Iterator<Item = u8> {
    (0..size.trailing_zeros() as usize).flat_map(move |layer| {
        let groups = (start..start + size).step_by(2 << layer);
        groups.map(move |point| value(layer, point))
    })
}
