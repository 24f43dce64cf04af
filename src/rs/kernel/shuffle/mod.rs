//! Multiplication by byte shuffles: two tables of 16 products each, one for the low and one for the high
//! half of a byte (H. P. Anvin, "The mathematics of RAID-6", 2004-2011, section "SIMD implementation"; J. S.
//! Plank, K. M. Greenan, E. L. Miller, "Screaming Fast Galois Field Arithmetic Using Intel SIMD
//! Instructions", FAST 2013).
//!
//! Everything that multiplies this way is in this folder, and nothing outside of it needs it but
//! [`crate::rs::kernel::Kernel`], so that it can be left out.

#[cfg(target_arch = "aarch64")]
pub mod neon;
#[cfg(target_arch = "x86_64")]
pub mod x86;
