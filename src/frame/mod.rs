//! The S4 object format: frames, padding, sidecars, whole objects.
//!
//! ```text
//! object body   [frame | padding]*            little-endian throughout
//! frame         "S4F2" codec:u32 original:u64 payload:u64 crc32c:u32  payload
//! padding       "S4P1" length:u64  filler
//! ```
//!
//! The CRC32C is over the original bytes of the frame. Sizes in headers are claims: `read.rs` checks
//! them against what is there before it believes any.

pub mod index;
pub mod object;
pub mod range;
pub mod read;
pub mod write;

use crate::{
    codec::CodecKind,
    error::{FrameError, Result},
};

/// The first bytes of a frame.
pub const FRAME_MAGIC: [u8; 4] = *b"S4F2";
/// The first bytes of padding.
pub const PADDING_MAGIC: [u8; 4] = *b"S4P1";
/// Length of a frame header in bytes.
pub const FRAME_HEADER_LEN: usize = 28;
/// Length of a padding header in bytes.
pub const PADDING_HEADER_LEN: usize = 12;
/// What a sidecar's key has behind the object's.
pub const SIDECAR_SUFFIX: &str = ".s4index";

const MIB: u64 = 1 << 20;

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// What made the payload.
    pub codec: CodecKind,
    /// Length of the decoded bytes.
    pub original_size: u64,
    /// Length of the payload.
    pub payload_size: u64,
    /// CRC32C of the decoded bytes.
    pub crc32c: u32,
}

impl FrameHeader {
    /// Reads a header off the front of `bytes`; the payload need not be there.
    ///
    /// # Errors
    /// In this order: too short, wrong magic, unknown codec.
    pub fn parse(bytes: &[u8]) -> Result<Self, FrameError> {
        let header: &[u8; FRAME_HEADER_LEN] = bytes.first_chunk().ok_or(FrameError::TooShort {
            need: FRAME_HEADER_LEN,
            have: bytes.len(),
        })?;
        let [m0, m1, m2, m3, c0, c1, c2, c3, rest @ ..] = header;
        let magic = [*m0, *m1, *m2, *m3];
        if magic != FRAME_MAGIC {
            return Err(FrameError::BadMagic(magic));
        }
        let id = u32::from_le_bytes([*c0, *c1, *c2, *c3]);
        let codec = CodecKind::from_id(id).ok_or(FrameError::UnknownCodec(id))?;
        let (sizes, crc) = rest.as_chunks::<8>();
        Ok(Self {
            codec,
            original_size: u64::from_le_bytes(sizes[0]),
            payload_size: u64::from_le_bytes(sizes[1]),
            crc32c: crc.first_chunk().copied().map_or(0, u32::from_le_bytes),
        })
    }

    /// The header as bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; FRAME_HEADER_LEN] {
        let mut out = [0; FRAME_HEADER_LEN];
        out[..4].copy_from_slice(&FRAME_MAGIC);
        out[4..8].copy_from_slice(&self.codec.id().to_le_bytes());
        out[8..16].copy_from_slice(&self.original_size.to_le_bytes());
        out[16..24].copy_from_slice(&self.payload_size.to_le_bytes());
        out[24..].copy_from_slice(&self.crc32c.to_le_bytes());
        out
    }
}

/// The gateway's chunk size for an object of `content_length` bytes: 1, 4 or 16 MiB.
#[must_use]
pub fn pick_chunk_size(content_length: u64) -> u64 {
    match content_length {
        0..=0x0010_0000 => MIB,
        0x0010_0001..=0x0640_0000 => 4 * MIB,
        _ => 16 * MIB,
    }
}
