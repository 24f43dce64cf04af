//! FCG1, the container of chunks that a GPU compressed.
//!
//! | offset | size | field |
//! |---:|---:|---|
//! | 0 | 4 | `FCG1` |
//! | 4 | 1 | algorithm: 1 Snappy, 2 LZ4, 3 zstd, 4 Bitcomp, 5 `GDeflate` |
//! | 5 | 1 | data type, for Bitcomp only |
//! | 6 | 2 | reserved |
//! | 8 | 8 | original size |
//! | 16 | 4 | chunk size: original bytes of every chunk but the last, 1 byte to 16 MiB |
//! | 20 | 4 | chunk count: original size / chunk size, rounded up |
//! | 24 | 4 n | stored size of each chunk |
//! | 24 + 4 n | | the chunks, without gaps; what follows them is ignored |
//!
//! Integers are little-endian. A container is checked in full before anything is allocated, and
//! nothing is decoded unless the caller's buffer has exactly the original size.

use rayon::prelude::*;

use super::gdeflate;
use crate::{
    codec::{CodecKind, zstd},
    error::{Error, Result},
    pool::{self, Cancel},
};

const MAGIC: [u8; 4] = *b"FCG1";
const HEADER_LEN: usize = 24;
/// Bytes of one entry of the chunk table.
const ENTRY_LEN: usize = 4;
/// The longest chunk that nvCOMP makes.
const MAX_CHUNK_SIZE: u32 = 16 << 20;
/// Original bytes that one stored byte can stand for, in the algorithms that are decoded here: an RLE
/// block of zstd makes 128 KiB of 4 bytes, the longest match of `GDeflate` 64 KiB of 18 bits. Without
/// this check a table of empty chunks would be good for a buffer of any size.
const MAX_RATIO: u64 = 32 << 10;
/// The highest of the numbers that S4 gives to Bitcomp's data types.
const MAX_DATA_TYPE: u8 = 11;
/// Original bytes that are worth handing to another thread.
const MIN_TASK_LEN: usize = 64 << 10;

/// How the chunks of a container are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Algorithm {
    /// Snappy; the format has a number for it, S4 does not write it.
    Snappy = 1,
    /// LZ4; the format has a number for it, S4 does not write it.
    Lz4 = 2,
    /// zstd frames.
    Zstd = 3,
    /// NVIDIA's Bitcomp.
    Bitcomp = 4,
    /// `GDeflate` streams.
    Gdeflate = 5,
}

impl Algorithm {
    const fn from_id(id: u8) -> Option<Self> {
        Some(match id {
            1 => Self::Snappy,
            2 => Self::Lz4,
            3 => Self::Zstd,
            4 => Self::Bitcomp,
            5 => Self::Gdeflate,
            _ => return None,
        })
    }

    /// Whether the format is public, and decoded here.
    const fn is_open(self) -> bool {
        matches!(self, Self::Zstd | Self::Gdeflate)
    }

    /// The name for messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
            Self::Bitcomp => "bitcomp",
            Self::Gdeflate => "gdeflate",
        }
    }
}

/// A container whose header, chunk table and chunks lie inside the payload and agree.
#[derive(Debug, Clone, Copy)]
pub struct Container<'a> {
    algorithm: Algorithm,
    data_type: u8,
    original_size: u64,
    chunk_size: u32,
    table: &'a [[u8; ENTRY_LEN]],
    data: &'a [u8],
}

impl<'a> Container<'a> {
    /// Checks a payload. Allocates nothing.
    ///
    /// # Errors
    /// [`Error::Fcg1`] that names the first rule the payload breaks.
    pub fn parse(payload: &'a [u8]) -> Result<Self> {
        let Some((header, rest)) = payload.split_first_chunk::<HEADER_LEN>() else {
            let have = payload.len();
            return damaged(format!("header needs {HEADER_LEN} bytes, got {have}"));
        };
        let [m0, m1, m2, m3, id, data_type, _, _, numbers @ ..] = *header;
        let magic = [m0, m1, m2, m3];
        if magic != MAGIC {
            return damaged(format!(
                "bad magic: expected FCG1, got \"{}\"",
                magic.escape_ascii()
            ));
        }
        let Some(algorithm) = Algorithm::from_id(id) else {
            return damaged(format!("unknown algorithm {id}"));
        };
        if algorithm == Algorithm::Bitcomp && data_type > MAX_DATA_TYPE {
            return damaged(format!("unknown bitcomp data type {data_type}"));
        }
        let numbers = u128::from_le_bytes(numbers);
        let original_size = numbers as u64;
        let chunk_size = (numbers >> 64) as u32;
        let chunk_count = (numbers >> 96) as u32;

        if chunk_size == 0 || chunk_size > MAX_CHUNK_SIZE {
            return damaged(format!(
                "chunk size {chunk_size} is not within 1..={MAX_CHUNK_SIZE}"
            ));
        }
        let want = original_size.div_ceil(u64::from(chunk_size));
        if u64::from(chunk_count) != want {
            return damaged(format!(
                "{chunk_count} chunks of {chunk_size} bytes for {original_size} bytes, expected {want}"
            ));
        }
        let table_len = chunk_count as usize * ENTRY_LEN;
        let Some((table, data)) = rest.split_at_checked(table_len) else {
            let have = rest.len();
            return damaged(format!("chunk table of {table_len} bytes, {have} are left"));
        };
        let (table, _) = table.as_chunks();
        let container = Self {
            algorithm,
            data_type,
            original_size,
            chunk_size,
            table,
            data,
        };
        container.check_chunks()?;
        Ok(container)
    }

    fn check_chunks(&self) -> Result<()> {
        let have = self.data.len();
        let mut end = 0;
        let mut left = self.original_size;
        for (index, entry) in self.table.iter().enumerate() {
            let stored = u64::from(u32::from_le_bytes(*entry));
            let original = left.min(u64::from(self.chunk_size));
            left -= original;
            end += stored;
            if end > have as u64 {
                return damaged(format!("chunk {index} ends at byte {end} of {have}"));
            }
            if self.algorithm.is_open() && original > stored * MAX_RATIO {
                return damaged(format!(
                    "chunk {index}: {stored} bytes cannot hold {original}"
                ));
            }
        }
        Ok(())
    }

    /// How the chunks are compressed.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// S4's number of the data type; means something for Bitcomp only.
    #[must_use]
    pub const fn data_type(&self) -> u8 {
        self.data_type
    }

    /// Bytes that all chunks decode to.
    #[must_use]
    pub const fn original_size(&self) -> u64 {
        self.original_size
    }

    /// Bytes that every chunk but the last decodes to.
    #[must_use]
    pub const fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    /// Number of chunks.
    #[must_use]
    pub const fn chunk_count(&self) -> usize {
        self.table.len()
    }

    /// The chunks in order.
    #[must_use]
    pub const fn chunks(&self) -> Chunks<'a> {
        Chunks {
            table: self.table,
            data: self.data,
            chunk_size: self.chunk_size,
            left: self.original_size,
        }
    }
}

/// One chunk of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// The compressed bytes.
    pub stored: &'a [u8],
    /// The number of bytes that they must decode to.
    pub original_len: usize,
}

/// Iterator over the chunks of a container; see [`Container::chunks`].
#[derive(Debug, Clone)]
pub struct Chunks<'a> {
    table: &'a [[u8; ENTRY_LEN]],
    data: &'a [u8],
    chunk_size: u32,
    /// Original bytes of the chunks to come.
    left: u64,
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Chunk<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (entry, table) = self.table.split_first()?;
        let stored_len = u32::from_le_bytes(*entry) as usize;
        let (stored, data) = self.data.split_at_checked(stored_len)?;
        let original_len = self.left.min(u64::from(self.chunk_size));
        self.table = table;
        self.data = data;
        self.left -= original_len;
        Some(Chunk {
            stored,
            original_len: original_len as usize,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.table.len(), Some(self.table.len()))
    }
}

impl ExactSizeIterator for Chunks<'_> {}

/// Puts a container together. Nothing is checked: tests build wrong ones with it.
///
/// Args of a sound container: `chunks` are `original_size` bytes in pieces of `chunk_size`, each
/// compressed with `algorithm` to less than 4 GiB.
#[must_use]
pub fn build(
    algorithm: Algorithm,
    original_size: u64,
    chunk_size: u32,
    chunks: &[Vec<u8>],
) -> Vec<u8> {
    let stored: usize = chunks.iter().map(Vec::len).sum();
    let mut payload = Vec::with_capacity(HEADER_LEN + chunks.len() * ENTRY_LEN + stored);
    payload.extend(MAGIC);
    payload.extend([algorithm as u8, 0, 0, 0]);
    payload.extend(original_size.to_le_bytes());
    payload.extend(chunk_size.to_le_bytes());
    payload.extend((chunks.len() as u32).to_le_bytes());
    for chunk in chunks {
        payload.extend((chunk.len() as u32).to_le_bytes());
    }
    for chunk in chunks {
        payload.extend(chunk);
    }
    payload
}

/// Decodes the payload of a frame into exactly `dst.len()` bytes. After an error `dst` holds
/// anything.
///
/// Inside one of our thread pools the chunks are decoded in parallel, elsewhere one by one.
///
/// # Errors
/// [`Error::UnsupportedCodec`] for Bitcomp and for codecs that use no container,
/// [`Error::SizeMismatch`] if the container holds another number of bytes, [`Error::Fcg1`] for any
/// damage.
pub fn decompress_into(
    payload: &[u8],
    kind: CodecKind,
    dst: &mut [u8],
    cancel: &Cancel,
) -> Result<()> {
    let (algorithm, decode): (_, Decoder) = match kind {
        CodecKind::NvcompZstd => (Algorithm::Zstd, decode_zstd),
        CodecKind::NvcompGdeflate => (Algorithm::Gdeflate, gdeflate::decompress_into),
        codec => return Err(Error::UnsupportedCodec { codec }),
    };
    let container = Container::parse(payload)?;
    if container.algorithm != algorithm {
        let (codec, found) = (kind.name(), container.algorithm.name());
        return damaged(format!("{codec} payload holds {found} chunks"));
    }
    if container.original_size != dst.len() as u64 {
        return Err(Error::SizeMismatch {
            expected: dst.len() as u64,
            actual: container.original_size,
        });
    }

    let chunk_size = container.chunk_size as usize;
    let tasks = container.chunks().zip(dst.chunks_mut(chunk_size));
    let mut tasks = tasks.map(|(chunk, dst)| (chunk.stored, dst)).enumerate();
    let run = |(index, (stored, dst)): (usize, (&[u8], &mut [u8]))| {
        cancel.check()?;
        decode(stored, dst).map_err(|error| in_chunk(index, error))
    };
    if container.chunk_count() < 2 || pool::workers() < 2 {
        return tasks.try_for_each(run);
    }
    let tasks: Vec<_> = tasks.collect();
    let tasks = tasks
        .into_par_iter()
        .with_min_len(MIN_TASK_LEN.div_ceil(chunk_size));
    // The first in order, not in time, is reported.
    tasks
        .map(run)
        .find_map_first(Result::err)
        .map_or(Ok(()), Err)
}

/// Decodes one chunk into exactly the bytes it is given.
type Decoder = fn(&[u8], &mut [u8]) -> Result<()>;

fn decode_zstd(stored: &[u8], dst: &mut [u8]) -> Result<()> {
    let want = dst.len();
    let have = zstd::decompress_exact(stored, dst)?;
    if have != want {
        return damaged(format!("zstd: {have} bytes come out, expected {want}"));
    }
    Ok(())
}

/// Says which chunk it was; damage of any decoder is damage of the container.
fn in_chunk(index: usize, error: Error) -> Error {
    match error {
        Error::Interrupted => error,
        Error::Fcg1(text) => Error::Fcg1(format!("chunk {index}: {text}")),
        Error::Decode { codec, detail } => Error::Fcg1(format!("chunk {index}: {codec}: {detail}")),
        other => Error::Fcg1(format!("chunk {index}: {other}")),
    }
}

fn damaged<T>(text: String) -> Result<T> {
    Err(Error::Fcg1(text))
}
