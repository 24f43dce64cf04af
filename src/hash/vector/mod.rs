//! Vectors of 32-bit words, one word a lane, for hashes that work on several messages side by side.
//!
//! An algorithm written over [`Vector`] is one text for all widths. Its caller names the width and
//! switches the instructions on (`#[target_feature]`); everything in between is inlined into it.

#![expect(
    unsafe_code,
    reason = "vector instructions, and the lanes of a vector load and store by pointer"
)]
#![expect(
    clippy::inline_always,
    reason = "a call would pass vectors through memory, and lose the instructions switched on"
)]
#![cfg_attr(
    any(target_arch = "x86_64", target_arch = "aarch64"),
    expect(
        clippy::many_single_char_names,
        reason = "eight words without meaning of their own"
    )
)]

use std::mem::MaybeUninit;

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(target_arch = "aarch64")]
pub(in crate::hash) use neon::Neon;
#[cfg(target_arch = "x86_64")]
pub(in crate::hash) use x86::{Avx2, Avx512, Sse41};

/// Lanes of the widest vector.
pub(in crate::hash) const MAX_LANES: usize = 16;

/// Where each lane reads; a vector of fewer lanes uses the first ones.
pub(in crate::hash) type Sources = [*const u8; MAX_LANES];
/// Where each lane writes; a vector of fewer lanes uses the first ones.
pub(in crate::hash) type Places = [*mut u8; MAX_LANES];

/// One 32-bit word in each lane.
///
/// A value exists only where one of the unsafe functions has made one, whose callers promise that
/// the CPU has the instructions; that is why all other operations are safe.
pub(in crate::hash) trait Vector: Copy {
    /// The number of lanes.
    const LANES: usize;

    /// The same word in every lane.
    ///
    /// # Safety
    /// The CPU has the instructions of this vector.
    unsafe fn splat(word: u32) -> Self;

    /// Each lane's word.
    ///
    /// # Safety
    /// As for [`Vector::splat`].
    unsafe fn from_lanes(words: &[u32; MAX_LANES]) -> Self;

    /// 8 words of every lane, `at` bytes from its source on, as the CPU reads them.
    ///
    /// # Safety
    /// As for [`Vector::splat`]; the first `LANES` sources can be read for `at + 32` bytes.
    unsafe fn load(sources: &Sources, at: usize) -> [Self; 8];

    /// Writes 8 words of every lane: the inverse of [`Vector::load`].
    ///
    /// # Safety
    /// The first `LANES` places can be written for 32 bytes.
    unsafe fn store(words: [Self; 8], places: &Places);

    /// Makes a block of `len` bytes, at most 64, and after those what `block` has there.
    ///
    /// # Safety
    /// As for [`Vector::splat`]; `source` can be read for `len` bytes.
    #[inline(always)]
    unsafe fn fill<'a>(
        place: &'a mut MaybeUninit<[u8; 64]>,
        block: &[u8; 64],
        source: *const u8,
        len: usize,
    ) -> &'a [u8; 64] {
        let place = place.write(*block);
        // SAFETY: the caller has promised `len` readable bytes; the place has 64.
        unsafe { copy_short(source, place.as_mut_ptr(), len.min(64)) };
        place
    }

    /// The sum modulo 2^32.
    fn plus(self, other: Self) -> Self;
    /// The sum with the same word in every lane.
    fn plus_word(self, word: u32) -> Self;
    /// The bits that differ.
    fn xor(self, other: Self) -> Self;
    /// Rotates right by `RIGHT` bits; `LEFT` is `32 - RIGHT`.
    fn rotate<const RIGHT: i32, const LEFT: i32>(self) -> Self;
    /// Shifts right by `BITS`, zeros come in.
    fn shift<const BITS: i32>(self) -> Self;
    /// Reverses the bytes of each word.
    fn swap_bytes(self) -> Self;
    /// The bits in which an odd number of the three is set.
    fn parity(self, second: Self, third: Self) -> Self;
    /// The bits of `yes` where `self` is set, else those of `no`.
    fn choose(self, yes: Self, no: Self) -> Self;
    /// The bits that at least two of the three have.
    fn majority(self, second: Self, third: Self) -> Self;
    /// The bits in which `self` differs from those that `second` has or `third` has not.
    fn xor_or_not(self, second: Self, third: Self) -> Self;
}

/// Copies up to 64 bytes, in line: as two pieces that may overlap.
///
/// # Safety
/// `source` can be read and `place` written for `len` bytes, at most 64.
#[inline(always)]
unsafe fn copy_short(source: *const u8, place: *mut u8, len: usize) {
    /// # Safety
    /// As for [`copy_short`]; `len` is from `N` to twice that.
    #[inline(always)]
    unsafe fn ends<const N: usize>(source: *const u8, place: *mut u8, len: usize) {
        let last = len - N;
        // SAFETY: the caller has promised it; arrays of bytes have no alignment.
        unsafe {
            let (head, tail) = (
                source.cast::<[u8; N]>().read(),
                source.add(last).cast::<[u8; N]>().read(),
            );
            place.cast::<[u8; N]>().write(head);
            place.add(last).cast::<[u8; N]>().write(tail);
        }
    }
    // SAFETY: the caller has promised it.
    unsafe {
        match len {
            32.. => ends::<32>(source, place, len),
            16.. => ends::<16>(source, place, len),
            8.. => ends::<8>(source, place, len),
            4.. => ends::<4>(source, place, len),
            2.. => ends::<2>(source, place, len),
            1 => ends::<1>(source, place, len),
            0 => {}
        }
    }
}

/// What a transposition is made of; each group of 128 bits on its own.
trait Interleave: Copy {
    /// Words 0 of both, then words 1 of both.
    fn low_words(self, other: Self) -> Self;
    /// Words 2 of both, then words 3 of both.
    fn high_words(self, other: Self) -> Self;
    /// The first two words of both.
    fn low_pairs(self, other: Self) -> Self;
    /// The last two words of both.
    fn high_pairs(self, other: Self) -> Self;

    /// In each 128 bits, four rows of four words become four columns.
    #[inline(always)]
    fn columns(rows: [Self; 4]) -> [Self; 4] {
        let [a, b, c, d] = rows;
        let (low, high) = (a.low_words(b), a.high_words(b));
        let (low_after, high_after) = (c.low_words(d), c.high_words(d));
        [
            low.low_pairs(low_after),
            low.high_pairs(low_after),
            high.low_pairs(high_after),
            high.high_pairs(high_after),
        ]
    }
}

/// One lane without any SIMD: what the wider ones must equal.
impl Vector for u32 {
    const LANES: usize = 1;

    #[inline(always)]
    unsafe fn splat(word: u32) -> Self {
        word
    }

    #[inline(always)]
    unsafe fn from_lanes(words: &[u32; MAX_LANES]) -> Self {
        words[0]
    }

    #[inline(always)]
    unsafe fn load(sources: &Sources, at: usize) -> [Self; 8] {
        // SAFETY: the caller has promised 32 readable bytes there; the read asks for no alignment.
        unsafe { sources[0].add(at).cast::<[u32; 8]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(words: [Self; 8], places: &Places) {
        // SAFETY: the caller has promised 32 writable bytes; the write asks for no alignment.
        unsafe { places[0].cast::<[u32; 8]>().write_unaligned(words) }
    }

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }

    #[inline(always)]
    fn plus_word(self, word: u32) -> Self {
        self.wrapping_add(word)
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        self ^ other
    }

    #[inline(always)]
    fn rotate<const RIGHT: i32, const LEFT: i32>(self) -> Self {
        self.rotate_right(RIGHT.unsigned_abs())
    }

    #[inline(always)]
    fn shift<const BITS: i32>(self) -> Self {
        self >> BITS
    }

    #[inline(always)]
    fn swap_bytes(self) -> Self {
        self.swap_bytes()
    }

    #[inline(always)]
    fn parity(self, second: Self, third: Self) -> Self {
        self ^ second ^ third
    }

    #[inline(always)]
    fn choose(self, yes: Self, no: Self) -> Self {
        no ^ (self & (yes ^ no))
    }

    #[inline(always)]
    fn majority(self, second: Self, third: Self) -> Self {
        second ^ ((self ^ second) & (second ^ third))
    }

    #[inline(always)]
    fn xor_or_not(self, second: Self, third: Self) -> Self {
        self ^ (second | !third)
    }
}
