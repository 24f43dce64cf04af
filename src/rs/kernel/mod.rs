//! The one operation that all of Reed-Solomon is made of: sums of shards times coefficients.
//!
//! Encoding, decoding, verifying, updating and locating differ in their matrices only. Each kernel
//! computes the same bytes with other instructions.

#[cfg(target_arch = "x86_64")]
mod affine;
pub mod scalar;
mod shuffle;
mod tile;

use crate::{
    cpu::{self, Feature},
    rs::field::Matrix,
};

/// Which instructions make the products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// Tables in memory.
    Scalar,
    /// Byte shuffles on 128 bits.
    Ssse3,
    /// Byte shuffles on 256 bits.
    Avx2,
    /// Affine maps on 256 bits.
    Gfni,
    /// Affine maps on 512 bits.
    Avx512,
    /// Byte shuffles of `AArch64`.
    Neon,
}

/// What there is to compute, with all lengths checked.
pub struct Job<'a> {
    matrix: &'a Matrix,
    inputs: &'a [&'a [u8]],
    start: usize,
    len: usize,
    accumulate: bool,
}

impl Job<'_> {
    /// The coefficient; 0 outside of the matrix.
    fn coefficient(&self, row: usize, column: usize) -> u8 {
        let at = row * self.matrix.columns() + column;
        self.matrix.coefficients().get(at).copied().unwrap_or(0)
    }
}

impl Kernel {
    /// All of them, the slowest first.
    pub const ALL: [Self; 6] = [
        Self::Scalar,
        Self::Ssse3,
        Self::Neon,
        Self::Avx2,
        Self::Gfni,
        Self::Avx512,
    ];

    /// Its name, the same as the level of [`crate::cpu`] that brings it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Ssse3 => "ssse3",
            Self::Avx2 => "avx2",
            Self::Gfni => "gfni",
            Self::Avx512 => "avx512",
            Self::Neon => "neon",
        }
    }

    /// Whether it may be used on this machine.
    #[must_use]
    pub fn available(self) -> bool {
        match self {
            Self::Scalar => true,
            Self::Ssse3 => cpu::has(Feature::Ssse3),
            Self::Avx2 => cpu::has(Feature::Avx2),
            Self::Gfni => cpu::has(Feature::Avx2) && cpu::has(Feature::Gfni),
            Self::Avx512 => cpu::has(Feature::Avx512) && cpu::has(Feature::Gfni),
            Self::Neon => cpu::has(Feature::Neon),
        }
    }

    /// The fastest one that may be used.
    #[must_use]
    pub fn best() -> Self {
        let fastest = Self::ALL.into_iter().rev().find(|one| one.available());
        fastest.unwrap_or(Self::Scalar)
    }

    /// `outputs[r]` becomes the sum of `inputs[c][start..]` times the coefficient of row `r` and
    /// column `c`; with `accumulate` that sum is added to it.
    ///
    /// Only what all slices have is made: as many rows as `matrix` and `outputs` have, as many columns
    /// as `matrix` and `inputs`, as many bytes as the shortest slice.
    pub fn dot(
        self,
        matrix: &Matrix,
        inputs: &[&[u8]],
        start: usize,
        outputs: &mut [&mut [u8]],
        accumulate: bool,
    ) {
        let inputs = &inputs[..inputs.len().min(matrix.columns())];
        let rows = outputs.len().min(matrix.rows());
        let outputs = &mut outputs[..rows];
        let output_lens = outputs.iter().map(|output| output.len());
        let input_lens = inputs.iter().map(|input| input.len().saturating_sub(start));
        let len = output_lens.chain(input_lens).min().unwrap_or(0);
        if inputs.is_empty() && !accumulate {
            for output in outputs.iter_mut() {
                output[..len].fill(0);
            }
        }
        if len == 0 || inputs.is_empty() || outputs.is_empty() {
            return;
        }
        let job = Job {
            matrix,
            inputs,
            start,
            len,
            accumulate,
        };
        self.run(&job, outputs);
    }

    #[expect(unsafe_code, reason = "kernels need their instruction sets")]
    fn run(self, job: &Job<'_>, outputs: &mut [&mut [u8]]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the instruction set was just found to be there.
            Self::Ssse3 if self.available() => unsafe {
                tile::dot::<shuffle::x86::Shuffle128>(job, outputs);
            },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the instruction set was just found to be there.
            Self::Avx2 if self.available() => unsafe {
                tile::dot::<shuffle::x86::Shuffle256>(job, outputs);
            },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the instruction set was just found to be there.
            Self::Gfni if self.available() => unsafe {
                tile::dot::<affine::Affine256>(job, outputs);
            },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the instruction set was just found to be there.
            Self::Avx512 if self.available() => unsafe {
                tile::dot::<affine::Affine512>(job, outputs);
            },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: the instruction set was just found to be there.
            Self::Neon if self.available() => unsafe {
                tile::dot::<shuffle::neon::ShuffleNeon>(job, outputs);
            },
            _ => scalar::dot(job, outputs),
        }
    }
}
