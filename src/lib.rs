//! The core of shardpack: codecs, frames and kernels for data on object storage.
//!
//! ```text
//! L3  bindings                the only files that know Python (feature `python`)
//! L2  frame  gpu  nmt         S4F2 frames, sidecars, whole objects; GPU payloads read on the CPU;
//!                             namespaced Merkle trees and their proofs
//! L1  checksum codec hash rs  kernels and codecs over byte slices
//! L0  cpu error memory pool   what the CPU has; the one `Error`; huge pages; the fork-aware pool
//! ```
//!
//! Imports go down only (`tests/rust/layers.rs` holds that). Every reader of bytes takes them as
//! hostile: no panic, no allocation that a header merely claims, no silent truncation.

pub mod checksum;
pub mod codec;
pub mod cpu;
pub mod error;
pub mod frame;
pub mod gpu;
pub mod hash;
pub mod memory;
pub mod nmt;
pub mod pool;
pub mod rs;

#[cfg(feature = "python")]
mod bindings;

pub use error::{Error, Result};
