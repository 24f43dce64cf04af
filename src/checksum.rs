//! CRC32C (Castagnoli, reflected 0x82F63B78): one-shot, continued, combined.
//!
//! The checksum of S4 frames and of S3's `x-amz-checksum-crc32c`. `crc32c(b"123456789")` is
//! `0xE306_9283`, the empty input gives 0.

use rayon::prelude::*;

use crate::pool;

/// Below this a second thread costs more than it saves.
const PARALLEL_LEN: usize = 4 << 20;
/// What one thread takes at a time.
const PARALLEL_CHUNK: usize = 1 << 20;

/// The checksum of `data`, continued from `init`, the checksum of what came before it (0 at first).
#[must_use]
pub fn crc32c(data: &[u8], init: u32) -> u32 {
    crc32c::crc32c_append(init, data)
}

/// The checksum of A followed by B, from the checksums of A and B and the length of B in bytes.
#[must_use]
pub fn combine(crc_a: u32, crc_b: u32, len_b: u64) -> u32 {
    crc32c::crc32c_combine(crc_a, crc_b, len_b as usize)
}

/// As [`crc32c`], on the threads of the pool this runs in, if it runs in one.
#[must_use]
pub fn crc32c_parallel(data: &[u8], init: u32) -> u32 {
    if data.len() < PARALLEL_LEN || pool::workers() < 2 {
        return crc32c(data, init);
    }
    let (crc, _) = data
        .par_chunks(PARALLEL_CHUNK)
        .map(|chunk| (crc32c(chunk, 0), chunk.len() as u64))
        .reduce(|| (0, 0), |a, b| (combine(a.0, b.0, b.1), a.1 + b.1));
    combine(init, crc, data.len() as u64)
}
