//! CRC32C (Castagnoli, reflected 0x82F63B78): one-shot, continued, combined, of many messages.
//!
//! The checksum of S4 frames and of S3's `x-amz-checksum-crc32c` (RFC 3720, section 12.1).
//! `crc32c(b"123456789")` is `0xE306_9283`, the empty input gives 0.
//!
//! | file | what |
//! |---|---|
//! | `polynomial` | arithmetic modulo P at compile time and at run time; joining checksums |
//! | `portable` | tables, for CPUs without instructions for it, and as the twin of all the others |
//! | `fused` | the one algorithm of all CPUs that have some |
//! | `x86`, `aarch64` | those instructions |
//! | `kernel` | which of them runs |

mod kernel;
mod polynomial;
mod portable;

#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod aarch64;
#[cfg(any(
    target_arch = "x86_64",
    all(target_arch = "aarch64", target_endian = "little")
))]
mod fused;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use kernel::Kernel;

use rayon::prelude::*;

use crate::{
    error::Result,
    pool::{self, Cancel},
};

/// Below this a second thread costs more than it saves.
const PARALLEL_LEN: usize = 4 << 20;
/// What one thread takes at a time.
const PARALLEL_CHUNK: usize = 1 << 20;

/// Bytes of one task of [`crc32c_many_parallel`], so that a task outweighs its scheduling by far.
const TASK_LEN: usize = 256 << 10;
/// A message costs as much as this many bytes, however short it is.
const MESSAGE_COST: usize = 128;

/// The checksum of `data`, continued from `init`, the checksum of what came before it (0 at first).
#[must_use]
pub fn crc32c(data: &[u8], init: u32) -> u32 {
    !kernel::update(data, !init)
}

/// The checksum of A followed by B, from the checksums of A and B and the length of B in bytes.
///
/// At most seven multiplications modulo P, whatever the length.
#[must_use]
pub fn combine(crc_a: u32, crc_b: u32, len_b: u64) -> u32 {
    // The complements before and after each message cancel out.
    polynomial::over_zeros(crc_a, len_b) ^ crc_b
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

/// The checksums of many messages, on this thread; `out[i]` becomes that of `messages[i]`.
///
/// Only the pairs that both slices have are made.
pub fn crc32c_many(messages: &[&[u8]], out: &mut [u32]) {
    for (message, crc) in messages.iter().zip(out) {
        *crc = crc32c(message, 0);
    }
}

/// As [`crc32c_many`], on the threads of the pool that this runs in.
///
/// # Errors
/// [`crate::Error::Interrupted`].
pub fn crc32c_many_parallel(messages: &[&[u8]], out: &mut [u32], cancel: &Cancel) -> Result<()> {
    let work = |(messages, out): (&[&[u8]], &mut [u32])| {
        cancel.check()?;
        if let ([message], [crc]) = (messages, &mut *out) {
            *crc = crc32c_parallel(message, 0);
        } else {
            crc32c_many(messages, out);
        }
        Ok(())
    };
    let tasks = tasks(messages, out);
    if pool::workers() < 2 {
        tasks.into_iter().try_for_each(work)
    } else {
        tasks.into_par_iter().try_for_each(work)
    }
}

/// Cuts the pairs into runs of about [`TASK_LEN`] bytes.
fn tasks<'a, 'b>(
    messages: &'a [&'b [u8]],
    out: &'a mut [u32],
) -> Vec<(&'a [&'b [u8]], &'a mut [u32])> {
    let mut tasks = Vec::new();
    let mut rest = (messages, out);
    while !rest.0.is_empty() && !rest.1.is_empty() {
        let count = task_len(rest.0).min(rest.1.len());
        let (messages, later_messages) = rest.0.split_at(count);
        let (out, later_out) = rest.1.split_at_mut(count);
        tasks.push((messages, out));
        rest = (later_messages, later_out);
    }
    tasks
}

/// How many of `messages`, from the first on, make one task.
fn task_len(messages: &[&[u8]]) -> usize {
    let mut bytes = 0;
    let end = messages.iter().position(|message| {
        bytes += message.len() + MESSAGE_COST;
        bytes > TASK_LEN
    });
    end.map_or(messages.len(), |last| last + 1)
}
