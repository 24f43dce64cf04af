//! Polynomials over GF(2) modulo that of CRC32C, and what follows: joining two checksums.
//!
//! A `u32` is a remainder, reflected: bit `31 - d` is the coefficient of `x^d`. A *state* is a
//! checksum before its last complement: the message times `x^32`, modulo P.

use super::portable;

/// P, reflected, without its `x^32`.
const POLYNOMIAL: u32 = 0x82F6_3B78;

const ONE: u32 = 1 << 31;
const X: u32 = 1 << 30;

/// `x` to this power is 1: P is `x + 1` times a primitive polynomial of degree 31.
const ORDER: u64 = (1 << 31) - 1;
const _: () = assert!(power_within(ORDER) == ONE && power_within(1) != ONE);

/// `a` times `x`.
pub const fn times_x(a: u32) -> u32 {
    (a >> 1) ^ (POLYNOMIAL & (a & 1).wrapping_neg())
}

/// `a` times `b`.
pub const fn times(mut a: u32, b: u32) -> u32 {
    let mut sum = 0;
    let mut degree = 0;
    while degree < 32 {
        if b & (ONE >> degree) != 0 {
            sum ^= a;
        }
        a = times_x(a);
        degree += 1;
    }
    sum
}

/// `x` to the power of `n`, which may be negative.
pub const fn power(n: i64) -> u32 {
    power_within(n.rem_euclid(ORDER.cast_signed()).cast_unsigned())
}

const fn power_within(mut n: u64) -> u32 {
    let (mut result, mut square) = (ONE, X);
    while n > 0 {
        if n & 1 == 1 {
            result = times(result, square);
        }
        square = times(square, square);
        n >>= 1;
    }
    result
}

/// What a factor of a reduced product has to be multiplied by beforehand.
///
/// The carry-less product of two reflected numbers, taken as a number of 64 bits, is their product
/// times `x`; and a checksum of these 64 bits multiplies by another `x^32`.
pub const BEFORE_REDUCTION: i64 = -33;

/// The carry-less product, not reduced: what PCLMULQDQ and PMULL do.
pub fn product(a: u32, b: u32) -> u64 {
    let mut sum = 0;
    for place in 0..32 {
        let bit = u64::from(b >> place & 1);
        sum ^= (u64::from(a) << place) & bit.wrapping_neg();
    }
    sum
}

/// `FACTORS[place][digit]` moves a state over `digit * 16^place` zero bits.
static FACTORS: [[u32; 16]; 8] = {
    let mut factors = [[0; 16]; 8];
    let mut place = 0;
    while place < factors.len() {
        let step = power(1 << (4 * place));
        factors[place][0] = power(BEFORE_REDUCTION);
        let mut digit = 1;
        while digit < 16 {
            factors[place][digit] = times(factors[place][digit - 1], step);
            digit += 1;
        }
        place += 1;
    }
    factors
};

/// What a state becomes over `len` zero bytes: the state times `x^(8 len)`.
pub fn over_zeros(mut state: u32, len: u64) -> u32 {
    let mut distance = len % ORDER * 8 % ORDER;
    for factors in &FACTORS {
        let digit = (distance & 15) as usize;
        if digit != 0 {
            state = portable::word(0, product(state, factors[digit]));
        }
        distance >>= 4;
    }
    state
}
