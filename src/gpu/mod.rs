//! Payloads that a GPU wrote, read on the CPU.
//!
//! The frames of `nvcomp-zstd`, `nvcomp-bitcomp` and `nvcomp-gdeflate` hold one container, FCG1: the
//! original bytes in chunks of equal length, each compressed by itself by an nvCOMP batch call. The
//! chunks of the first are zstd frames, those of the last `GDeflate` streams; both are open formats
//! and are decoded here, several chunks at a time. Bitcomp is NVIDIA's own and is refused.
//!
//! | file | what it reads |
//! |---|---|
//! | `fcg1.rs` | the container |
//! | `gdeflate.rs` | a `GDeflate` stream |
//! | `huffman.rs` | the code tables of such a stream |

pub mod fcg1;
pub mod gdeflate;
mod huffman;

/// Whether a GPU can be used. No nvCOMP support is compiled in yet, so it cannot.
#[must_use]
pub const fn available() -> bool {
    false
}
