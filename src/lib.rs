//! The core of shardpack: codecs, frames and kernels for data on object storage.
//!
//! ```text
//! L3  bindings        the only files that know Python (feature `python`)
//! L2  frame  gpu      S4F2 frames, sidecars, whole objects; GPU payloads read on the CPU
//! L1  checksum codec  kernels and codecs over byte slices
//! L0  error  memory pool  the one `Error`; huge pages; the fork-aware thread pool
//! ```
//!
//! Imports go down only (`tests/rust/layers.rs` holds that). Every reader of bytes takes them as
//! hostile: no panic, no allocation that a header merely claims, no silent truncation.

pub mod checksum;
pub mod codec;
pub mod error;
pub mod frame;
pub mod gpu;
pub mod memory;
pub mod pool;

#[cfg(feature = "python")]
mod bindings;

pub use error::{Error, Result};
