//! How the parity shards of one code are made.

use crate::rs::{
    fft,
    field::{self, Matrix},
    kernel::Kernel,
};

/// What makes all parity shards of a code, column by column.
pub enum Encoder {
    /// Each parity shard as a sum of products: the fastest for few of them.
    Matrix(Kernel, Matrix),
    /// All of them at once, the same bytes.
    Transform(fft::Encoder),
}

impl Encoder {
    /// The fastest way for `k` data and `m` parity shards.
    pub fn new(k: usize, m: usize) -> Self {
        let kernel = Kernel::best();
        if fft::pays(k, m, kernel) {
            Self::Transform(fft::Encoder::new(k, m, kernel))
        } else {
            Self::Matrix(kernel, field::parity_rows(k, m))
        }
    }

    /// Makes those columns of all parity shards that `parity` has, from `start` on.
    pub fn run(&self, data: &[&[u8]], start: usize, parity: &mut [&mut [u8]]) {
        match self {
            Self::Matrix(kernel, rows) => kernel.dot(rows, data, start, parity, false),
            Self::Transform(encoder) => encoder.encode(data, start, parity),
        }
    }
}
