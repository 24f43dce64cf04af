//! Byte shuffles of `AArch64`.
#![expect(unsafe_code, reason = "vector instructions")]
#![expect(
    clippy::inline_always,
    reason = "what is inlined into the function with the instruction set is compiled for it"
)]

use std::arch::aarch64::{
    uint8x16_t, vandq_u8, vbicq_u8, vdupq_n_u8, veorq_u8, vld1q_u8, vqtbl1q_u8, vshrq_n_u8,
    vst1q_u8,
};

use crate::rs::{
    field::NIBBLES,
    kernel::tile::{self, TAIL_MASKS, Tile, Vector, vector},
};

/// 128 bits.
#[derive(Clone, Copy)]
pub struct ShuffleNeon(uint8x16_t);

#[target_feature(enable = "neon")]
unsafe fn tile128<const ROWS: usize, const WIDTH: usize>(tile: &Tile<'_>) {
    // SAFETY: that of the caller, and the instruction set is switched on here.
    unsafe { tile::run::<ShuffleNeon, ROWS, WIDTH>(tile) }
}

impl Vector for ShuffleNeon {
    const LEN: usize = 16;
    const EXACT_TAILS: bool = false;
    const PAIRS: bool = false;
    // There are 32 registers: 16 sums leave room for everything else.
    const TILES: &'static [unsafe fn(&Tile<'_>)] = &[
        tile128::<1, 2>,
        tile128::<2, 2>,
        tile128::<3, 2>,
        tile128::<4, 2>,
        tile128::<5, 2>,
        tile128::<6, 2>,
        tile128::<7, 2>,
        tile128::<8, 2>,
    ];
    type Table = [u8; 32];
    /// The low and the high halves of the bytes.
    type Factor = (Self, Self);
    type Tail = (Self, usize);

    #[inline(always)]
    fn table(coefficient: u8) -> [u8; 32] {
        NIBBLES[usize::from(coefficient)]
    }

    #[inline(always)]
    unsafe fn zero() -> Self {
        vector!(Self(vdupq_n_u8(0)))
    }

    #[inline(always)]
    unsafe fn load(at: *const u8) -> Self {
        vector!(Self(vld1q_u8(at)))
    }

    #[inline(always)]
    unsafe fn store(self, at: *mut u8) {
        vector!(vst1q_u8(at, self.0));
    }

    #[inline(always)]
    unsafe fn tail(len: usize) -> (Self, usize) {
        let masks = TAIL_MASKS.as_ptr().cast::<u8>();
        vector!((Self::load(masks.add(16 + len)), Self::LEN - len))
    }

    #[inline(always)]
    unsafe fn load_tail(at: *const u8, (mask, before): (Self, usize)) -> Self {
        vector!(Self(vandq_u8(mask.0, Self::load(at.sub(before)).0)))
    }

    #[inline(always)]
    unsafe fn load_around(at: *const u8, (mask, before): (Self, usize)) -> Self {
        vector!(Self(vbicq_u8(Self::load(at.sub(before)).0, mask.0)))
    }

    #[inline(always)]
    unsafe fn store_tail(self, at: *mut u8, (_, before): (Self, usize)) {
        vector!(self.store(at.sub(before)));
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        vector!(Self(veorq_u8(self.0, other.0)))
    }

    #[inline(always)]
    unsafe fn factor(self) -> (Self, Self) {
        vector!((
            Self(vandq_u8(self.0, vdupq_n_u8(15))),
            Self(vshrq_n_u8::<4>(self.0)),
        ))
    }

    #[inline(always)]
    unsafe fn add_product(self, (low, high): (Self, Self), table: &[u8; 32]) -> Self {
        vector!({
            let low_table = vld1q_u8(table.as_ptr());
            let high_table = vld1q_u8(table.as_ptr().add(16));
            let low = Self(vqtbl1q_u8(low_table, low.0));
            let high = Self(vqtbl1q_u8(high_table, high.0));
            self.add(low).add(high)
        })
    }
}
