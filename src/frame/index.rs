//! The sidecar `S4IX`: where each frame of a body starts, for reads of a range.
//!
//! ```text
//! "S4IX" version:u32 count:u64 total_original:u64 total_stored:u64
//! version 2, 3:  source_size:u64 etag_len:u32 etag
//! version 3:     chunk:u32 chunks:u32 key:u16 salt:8 plaintext:u64 header:u32
//! count times:   original_offset original_size stored_offset stored_size   u64 each
//! ```

use super::read::Frames;
use crate::error::{Error, IndexError, Result};

/// The first bytes of a sidecar.
pub const INDEX_MAGIC: [u8; 4] = *b"S4IX";
/// Most entries of a sidecar, inclusive.
pub const MAX_ENTRIES: u64 = 16 << 20;
/// Longest `ETag` in bytes, inclusive.
pub const MAX_ETAG_LEN: u64 = 4096;

const HEADER_LEN: usize = 32;
const BINDING_LEN: usize = 12;
const ENCRYPTION_LEN: usize = 30;
const ENTRY_LEN: usize = 32;
/// Entries reserved before they have been seen.
const RESERVED: usize = 4096;

/// One frame of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Where the frame's bytes start in the original.
    pub original_offset: u64,
    /// How many they are.
    pub original_size: u64,
    /// Where the frame starts in the body.
    pub stored_offset: u64,
    /// Header and payload together.
    pub stored_size: u64,
}

impl Entry {
    /// Where the frame's bytes end in the original. [`Index::decode`] has checked the sum.
    #[must_use]
    pub const fn original_end(&self) -> u64 {
        self.original_offset.saturating_add(self.original_size)
    }

    /// Where the frame ends in the body.
    #[must_use]
    pub const fn stored_end(&self) -> u64 {
        self.stored_offset.saturating_add(self.stored_size)
    }
}

/// How an encrypted body is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encryption {
    /// Plaintext bytes of a chunk.
    pub chunk_size: u32,
    /// Number of chunks.
    pub chunk_count: u32,
    /// The gateway's key.
    pub key_id: u16,
    /// Salt of the nonces.
    pub salt: [u8; 8],
    /// Length of the body before encryption.
    pub plaintext_len: u64,
    /// Length of the envelope's header.
    pub header_len: u32,
}

/// A decoded sidecar.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    /// Length of the body, padding included.
    pub total_stored: u64,
    /// Frames in order.
    pub entries: Vec<Entry>,
    /// `ETag` of the body it belongs to, without quotes.
    pub etag: Option<String>,
    /// Length of the body it belongs to.
    pub source_size: Option<u64>,
    /// Set if the body is encrypted.
    pub encryption: Option<Encryption>,
}

impl Index {
    /// Length of the original: the end of the last entry.
    #[must_use]
    pub fn total_original(&self) -> u64 {
        self.entries.last().map_or(0, Entry::original_end)
    }

    /// Reads a sidecar. Nothing is reserved on the word of its counts.
    pub fn decode(bytes: &[u8]) -> Result<Self, IndexError> {
        let mut reader = Reader {
            part: "index header",
            bytes,
        };
        let mut header = Reader {
            part: "index header",
            bytes: reader.take(HEADER_LEN)?,
        };
        let magic = header.array()?;
        if magic != INDEX_MAGIC {
            return Err(IndexError::BadMagic(magic));
        }
        let version = header.u32()?;
        let count = header.u64()?;
        let _stated_total_original = header.u64()?;
        let total_stored = header.u64()?;
        if count > MAX_ENTRIES {
            return Err(IndexError::TooManyEntries {
                count,
                limit: MAX_ENTRIES,
            });
        }
        let mut index = Self {
            total_stored,
            ..Self::default()
        };
        match version {
            1 => {}
            2 => index.read_binding(&mut reader)?,
            3 => {
                index.read_binding(&mut reader)?;
                index.encryption = read_encryption(&mut reader)?;
            }
            _ => return Err(IndexError::UnknownVersion(version)),
        }
        index.read_entries(reader.bytes, count)?;
        Ok(index)
    }

    fn read_binding(&mut self, reader: &mut Reader<'_>) -> Result<(), IndexError> {
        reader.part = "index binding";
        let mut binding = Reader {
            part: reader.part,
            bytes: reader.take(BINDING_LEN)?,
        };
        let size = binding.u64()?;
        let etag_len = u64::from(binding.u32()?);
        if etag_len > MAX_ETAG_LEN {
            return Err(IndexError::EtagTooLong(etag_len));
        }
        reader.part = "index etag";
        let etag = reader.take(etag_len as usize)?;
        self.source_size = (size != 0).then_some(size);
        self.etag = std::str::from_utf8(etag)
            .ok()
            .filter(|etag| !etag.is_empty())
            .map(str::to_owned);
        Ok(())
    }

    fn read_entries(&mut self, table: &[u8], count: u64) -> Result<(), IndexError> {
        let need = count * ENTRY_LEN as u64;
        if table.len() as u64 != need {
            return Err(IndexError::TableLength {
                need,
                have: table.len() as u64,
            });
        }
        self.entries.reserve((count as usize).min(RESERVED));
        for row in table.as_chunks::<ENTRY_LEN>().0 {
            let [original_offset, original_size, stored_offset, stored_size] =
                std::array::from_fn(|column| u64::from_le_bytes(row.as_chunks::<8>().0[column]));
            let number = self.entries.len() as u64;
            if original_offset.checked_add(original_size).is_none()
                || stored_offset.checked_add(stored_size).is_none()
            {
                return Err(IndexError::Overflow(number));
            }
            self.entries.push(Entry {
                original_offset,
                original_size,
                stored_offset,
                stored_size,
            });
        }
        let disorder = self.entries.windows(2).position(|pair| {
            pair[1].original_offset < pair[0].original_end()
                || pair[1].stored_offset < pair[0].stored_end()
        });
        disorder.map_or(Ok(()), |at| Err(IndexError::OutOfOrder(at as u64 + 1)))
    }

    /// The sidecar as bytes: version 3 if the body is encrypted, else 2.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let etag = self.etag.as_deref().unwrap_or_default().as_bytes();
        let version: u32 = if self.encryption.is_some() { 3 } else { 2 };
        let mut out = Vec::with_capacity(
            HEADER_LEN + BINDING_LEN + etag.len() + ENCRYPTION_LEN + self.entries.len() * ENTRY_LEN,
        );
        out.extend_from_slice(&INDEX_MAGIC);
        out.extend_from_slice(&version.to_le_bytes());
        for number in [
            self.entries.len() as u64,
            self.total_original(),
            self.total_stored,
        ] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.source_size.unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&(etag.len() as u32).to_le_bytes());
        out.extend_from_slice(etag);
        if let Some(encryption) = &self.encryption {
            out.extend_from_slice(&encryption.chunk_size.to_le_bytes());
            out.extend_from_slice(&encryption.chunk_count.to_le_bytes());
            out.extend_from_slice(&encryption.key_id.to_le_bytes());
            out.extend_from_slice(&encryption.salt);
            out.extend_from_slice(&encryption.plaintext_len.to_le_bytes());
            out.extend_from_slice(&encryption.header_len.to_le_bytes());
        }
        for entry in &self.entries {
            for number in [
                entry.original_offset,
                entry.original_size,
                entry.stored_offset,
                entry.stored_size,
            ] {
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
        out
    }

    /// The index of a body, unbound.
    ///
    /// # Errors
    /// [`Error::Frame`] if the body does not walk as frames to its very end, [`Error::Index`] if the
    /// frames claim originals that do not fit in 64 bits.
    pub fn build(body: &[u8]) -> Result<Self> {
        let mut index = Self {
            total_stored: body.len() as u64,
            ..Self::default()
        };
        for frame in Frames::new(body) {
            let frame = frame?;
            let number = index.entries.len() as u64;
            let original_offset = index.total_original();
            if original_offset
                .checked_add(frame.header.original_size)
                .is_none()
            {
                return Err(Error::Index(IndexError::Overflow(number)));
            }
            index.entries.push(Entry {
                original_offset,
                original_size: frame.header.original_size,
                stored_offset: frame.offset,
                stored_size: frame.stored_len(),
            });
        }
        Ok(index)
    }

    /// Ties the index to a body: its length (0 = unknown) and `ETag` (empty = unknown).
    pub fn bind(&mut self, source_size: u64, etag: Option<&str>) {
        self.source_size = (source_size != 0).then_some(source_size);
        self.etag = etag.filter(|etag| !etag.is_empty()).map(str::to_owned);
    }

    /// May the index be used for a body with this length and `ETag`?
    ///
    /// An index that is bound to nothing is never trusted; what both sides know must agree.
    #[must_use]
    pub fn is_trusted(&self, size: Option<u64>, etag: Option<&str>) -> bool {
        let disagree = |mine: Option<&str>, theirs: Option<&str>| {
            matches!((mine.map(bare_etag), theirs.map(bare_etag)),
                (Some(mine), Some(theirs)) if !mine.is_empty() && !theirs.is_empty() && mine != theirs)
        };
        let bound = self.etag.is_some() || self.source_size.is_some();
        let sizes_agree = match (self.source_size, size) {
            (Some(mine), Some(theirs)) => mine == theirs,
            _ => true,
        };
        bound && sizes_agree && !disagree(self.etag.as_deref(), etag)
    }
}

/// An `ETag` without the marks that servers put around it.
fn bare_etag(etag: &str) -> &str {
    let etag = etag.trim();
    etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"')
}

fn read_encryption(reader: &mut Reader<'_>) -> Result<Option<Encryption>, IndexError> {
    reader.part = "index encryption block";
    let mut block = Reader {
        part: reader.part,
        bytes: reader.take(ENCRYPTION_LEN)?,
    };
    let encryption = Encryption {
        chunk_size: block.u32()?,
        chunk_count: block.u32()?,
        key_id: u16::from_le_bytes(block.array()?),
        salt: block.array()?,
        plaintext_len: block.u64()?,
        header_len: block.u32()?,
    };
    Ok((encryption.chunk_size != 0 && encryption.chunk_count != 0).then_some(encryption))
}

struct Reader<'a> {
    part: &'static str,
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], IndexError> {
        let (taken, rest) = self
            .bytes
            .split_at_checked(len)
            .ok_or(IndexError::TooShort {
                part: self.part,
                need: len as u64,
                have: self.bytes.len() as u64,
            })?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], IndexError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    fn u32(&mut self) -> Result<u32, IndexError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, IndexError> {
        self.array().map(u64::from_le_bytes)
    }
}
