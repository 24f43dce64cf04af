//! Butterflies: one on two places, and two layers of them on four.
//!
//! Coefficients become values from the top layer down. A butterfly of `a` and `b` with the multiplier
//! `w` is `a += w * b; b += a`; the inverse takes the same steps backwards.
#![expect(unsafe_code, reason = "methods of vectors")]
#![expect(
    clippy::inline_always,
    reason = "what is inlined into the function with the instruction set is compiled for it"
)]

use crate::rs::fft::vector::Vector;

/// Multipliers of the upper layer, and of the left and the right half of the lower one.
pub type Multipliers<'a, V> = [&'a <V as Vector>::Factor; 3];

/// From coefficients to values.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
pub unsafe fn forward_four<V: Vector>(
    [a, b, c, d]: [V; 4],
    [upper, left, right]: Multipliers<'_, V>,
) -> [V; 4] {
    // SAFETY: as vouched for by the caller.
    unsafe {
        let [a, c] = forward_two([a, c], upper);
        let [b, d] = forward_two([b, d], upper);
        let [a, b] = forward_two([a, b], left);
        let [c, d] = forward_two([c, d], right);
        [a, b, c, d]
    }
}

/// From values to coefficients.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
pub unsafe fn inverse_four<V: Vector>(
    [a, b, c, d]: [V; 4],
    [upper, left, right]: Multipliers<'_, V>,
) -> [V; 4] {
    // SAFETY: as vouched for by the caller.
    unsafe {
        let [a, b] = inverse_two([a, b], left);
        let [c, d] = inverse_two([c, d], right);
        let [a, c] = inverse_two([a, c], upper);
        let [b, d] = inverse_two([b, d], upper);
        [a, b, c, d]
    }
}

/// From values to coefficients, where all multipliers but the right one are 0.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
pub unsafe fn inverse_first_four<V: Vector>([a, b, c, d]: [V; 4], right: &V::Factor) -> [V; 4] {
    // SAFETY: as vouched for by the caller.
    unsafe {
        let b = b.xor(a);
        let [c, d] = inverse_two([c, d], right);
        [a, b, c.xor(a), d.xor(b)]
    }
}

/// From coefficients to values, of one layer.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
pub unsafe fn forward_two<V: Vector>([a, b]: [V; 2], multiplier: &V::Factor) -> [V; 2] {
    // SAFETY: as vouched for by the caller.
    unsafe {
        let product = b.mul(multiplier);
        [a.xor(product), b.xor3(a, product)]
    }
}

/// From values to coefficients, of one layer.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
pub unsafe fn inverse_two<V: Vector>([a, b]: [V; 2], multiplier: &V::Factor) -> [V; 2] {
    // SAFETY: as vouched for by the caller.
    unsafe {
        let b = b.xor(a);
        [a.xor(b.mul(multiplier)), b]
    }
}
