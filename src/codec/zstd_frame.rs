//! The outline of a zstd frame (RFC 8878): where it ends and how much it can hold.
//!
//! Walking the block headers tells the stored length and a bound for the decoded length without
//! decoding and without trusting the content size field, so that memory is never reserved on the
//! word of a header.

use crate::error::{Error, Result};

/// Largest window that is accepted, 128 MiB: what libzstd's own streaming decoder accepts.
pub const MAX_WINDOW: u64 = 1 << 27;

const MAGIC: u32 = 0xFD2F_B528;
const SKIPPABLE_MAGIC: u32 = 0x184D_2A50;
const SKIPPABLE_MASK: u32 = 0xFFFF_FFF0;
const MAX_BLOCK: u64 = 128 << 10;
const CODEC: &str = "cpu-zstd";

/// What the headers of one frame say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outline {
    /// Length of the whole frame in bytes.
    pub stored_len: usize,
    /// The content size field, a statement of the writer.
    pub content_size: Option<u64>,
    /// Most bytes that the blocks can decode to.
    pub bound: u64,
    /// A frame that decoders step over.
    pub skippable: bool,
}

/// The outline of the frame that `src` starts with.
///
/// # Errors
/// [`Error::Decode`] if it is no frame, is cut short, or asks for a window above [`MAX_WINDOW`].
pub fn outline(src: &[u8]) -> Result<Outline> {
    let mut reader = Reader { src, at: 0 };
    let magic = u32::from_le_bytes(reader.array()?);
    if magic & SKIPPABLE_MASK == SKIPPABLE_MAGIC {
        let len = u32::from_le_bytes(reader.array()?);
        reader.skip(len as usize)?;
        return Ok(Outline {
            stored_len: reader.at,
            content_size: None,
            bound: 0,
            skippable: true,
        });
    }
    if magic != MAGIC {
        return Err(Error::decode(
            CODEC,
            format!("{magic:#010x} starts no zstd frame"),
        ));
    }
    let header = read_header(&mut reader)?;
    let block_max = header.window.min(MAX_BLOCK);
    let mut bound = 0u64;
    loop {
        let [a, b, c] = reader.array()?;
        let word = u32::from_le_bytes([a, b, c, 0]);
        let size = (word >> 3) as usize;
        let (stored, decoded) = match (word >> 1) & 3 {
            0 => (size, size as u64),
            1 => (1, size as u64),
            2 => (size, block_max),
            _ => return Err(Error::decode(CODEC, "reserved block type")),
        };
        reader.skip(stored)?;
        bound += decoded.min(block_max);
        if word & 1 == 1 {
            break;
        }
    }
    if header.checksum {
        reader.skip(4)?;
    }
    Ok(Outline {
        stored_len: reader.at,
        content_size: header.content_size,
        bound: header.content_size.map_or(bound, |size| size.min(bound)),
        skippable: false,
    })
}

struct Header {
    window: u64,
    content_size: Option<u64>,
    checksum: bool,
}

fn read_header(reader: &mut Reader<'_>) -> Result<Header> {
    let [descriptor] = reader.array()?;
    let single_segment = descriptor & 0x20 != 0;
    let mut window = 0;
    if !single_segment {
        let [byte] = reader.array()?;
        let base = 1u64 << (10 + (byte >> 3));
        window = base + base / 8 * u64::from(byte & 7);
        if window > MAX_WINDOW {
            return Err(Error::decode(
                CODEC,
                format!("a window of {window} bytes is above the limit of {MAX_WINDOW}"),
            ));
        }
    }
    reader.skip([0, 1, 2, 4][usize::from(descriptor & 3)])?;
    let content_size = match (descriptor >> 6, single_segment) {
        (0, false) => None,
        (0, true) => Some(u64::from(reader.array::<1>()?[0])),
        (1, _) => Some(u64::from(u16::from_le_bytes(reader.array()?)) + 256),
        (2, _) => Some(u64::from(u32::from_le_bytes(reader.array()?))),
        _ => Some(u64::from_le_bytes(reader.array()?)),
    };
    if single_segment {
        window = content_size.unwrap_or(0);
    }
    Ok(Header {
        window,
        content_size,
        checksum: descriptor & 4 != 0,
    })
}

struct Reader<'a> {
    src: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = self
            .src
            .get(self.at..)
            .and_then(<[u8]>::first_chunk)
            .ok_or_else(cut_short)?;
        self.at += N;
        Ok(*bytes)
    }

    fn skip(&mut self, len: usize) -> Result<()> {
        if len > self.src.len() - self.at {
            return Err(cut_short());
        }
        self.at += len;
        Ok(())
    }
}

fn cut_short() -> Error {
    Error::decode(CODEC, "incomplete frame")
}
