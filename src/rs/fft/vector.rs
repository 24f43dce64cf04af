//! Vectors of field elements: the few operations that the transform is written in.
#![expect(unsafe_code, reason = "loads and stores through pointers")]
#![expect(
    clippy::inline_always,
    reason = "what is inlined into the function with the instruction set is compiled for it"
)]

use crate::rs::field::mul;

/// A vector of field elements.
///
/// # Safety
/// An implementation may use instructions that not every CPU has. Whoever calls any of its methods
/// vouches for them, and for the memory that pointers lead to: `WIDTH` bytes, at any alignment.
pub unsafe trait Vector: Copy {
    /// Bytes in a vector; divides 64.
    const WIDTH: usize;
    /// Whether stores across the end of a cache line cost so much that a detour is shorter.
    const STAGED: bool = false;
    /// A constant in the form that multiplication by it takes.
    type Factor: Copy;

    fn factor(constant: u8) -> Self::Factor;
    unsafe fn load(from: *const u8) -> Self;
    unsafe fn store(self, to: *mut u8);
    unsafe fn xor(self, other: Self) -> Self;
    unsafe fn mul(self, factor: &Self::Factor) -> Self;

    /// Asks for what lies at an address, valid or not, to be brought into the cache.
    #[inline(always)]
    unsafe fn prefetch(at: *const u8) {
        let _ = at;
    }

    /// `self ^ a ^ b`.
    #[inline(always)]
    unsafe fn xor3(self, a: Self, b: Self) -> Self {
        // SAFETY: as vouched for by the caller.
        unsafe { self.xor(a).xor(b) }
    }
}

/// Eight elements in a word of plain arithmetic.
#[derive(Clone, Copy)]
pub struct Word(u64);

// SAFETY: no special instructions.
unsafe impl Vector for Word {
    const WIDTH: usize = 8;
    /// The images of the eight bits of an element.
    type Factor = [u64; 8];

    fn factor(constant: u8) -> Self::Factor {
        std::array::from_fn(|bit| u64::from(mul(constant, 1 << bit)))
    }

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: the caller vouches for 8 readable bytes.
        Self(unsafe { from.cast::<u64>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: the caller vouches for 8 writable bytes.
        unsafe { to.cast::<u64>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        Self(self.0 ^ other.0)
    }

    #[inline(always)]
    unsafe fn mul(self, factor: &Self::Factor) -> Self {
        const LOWEST: u64 = 0x0101_0101_0101_0101;
        // One bit of each byte times the image of that bit stays within the byte.
        let images = factor.iter().enumerate();
        Self(images.fold(0, |sum, (bit, image)| {
            sum ^ (self.0 >> bit & LOWEST).wrapping_mul(*image)
        }))
    }
}

/// Two neighbouring vectors: constants are fetched once for both, and lines of the cache, which are 64
/// bytes long, are taken whole. Taken by halves they could get lost in between: the rows of a block
/// are as many as lines that a set of the cache holds, and often all fall into the same one.
#[derive(Clone, Copy)]
pub struct Twice<V>(V, V);

// SAFETY: the caller of a method vouches for what the vectors need.
unsafe impl<V: Vector> Vector for Twice<V> {
    const WIDTH: usize = 2 * V::WIDTH;
    type Factor = V::Factor;

    #[inline(always)]
    fn factor(constant: u8) -> Self::Factor {
        V::factor(constant)
    }

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: as vouched for by the caller.
        unsafe { Self(V::load(from), V::load(from.add(V::WIDTH))) }
    }

    #[inline(always)]
    unsafe fn prefetch(at: *const u8) {
        // SAFETY: as vouched for by the caller.
        unsafe { V::prefetch(at) };
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: as vouched for by the caller.
        unsafe {
            self.0.store(to);
            self.1.store(to.add(V::WIDTH));
        }
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        // SAFETY: as vouched for by the caller.
        unsafe { Self(self.0.xor(other.0), self.1.xor(other.1)) }
    }

    #[inline(always)]
    unsafe fn mul(self, factor: &Self::Factor) -> Self {
        // SAFETY: as vouched for by the caller.
        unsafe { Self(self.0.mul(factor), self.1.mul(factor)) }
    }

    #[inline(always)]
    unsafe fn xor3(self, a: Self, b: Self) -> Self {
        // SAFETY: as vouched for by the caller.
        unsafe { Self(self.0.xor3(a.0, b.0), self.1.xor3(a.1, b.1)) }
    }
}
