//! zstd dictionaries: prepared once, named by their hash, trained from samples.

use zstd_safe::{CDict, DDict};

use crate::{
    error::{Error, Result},
    hash::sha256,
};

/// Size of a trained dictionary unless the caller says otherwise; zstd's own default.
pub const DEFAULT_TRAINED_LEN: usize = 112_640;
/// Sizes that can be trained: zstd's least, and what is sensible to hold in memory for every codec.
pub const TRAINED_LENS: std::ops::RangeInclusive<usize> = 256..=1 << 28;
/// Length of a dictionary id in hexadecimal digits.
pub const ID_LEN: usize = 16;

/// A dictionary that is digested for one level, ready for any thread.
pub struct Dictionary {
    bytes: Vec<u8>,
    id: String,
    // `None` for a damaged trained dictionary: that is reported at the first use, as S4 does.
    compress: Option<CDict<'static>>,
    decompress: Option<DDict<'static>>,
}

impl Dictionary {
    /// Prepares `bytes` for compression at `level` and for decompression.
    ///
    /// Both are prepared here and not at the first use because that would need a lock, and a lock
    /// that is held while another thread forks stays held in the child.
    ///
    /// # Errors
    /// [`Error::Backend`] if `bytes` is empty.
    pub fn new(bytes: &[u8], level: i32) -> Result<Self> {
        if bytes.is_empty() {
            return Err(Error::Backend("an empty dictionary cannot be used".into()));
        }
        Ok(Self {
            id: dict_id(bytes),
            compress: CDict::try_create(bytes, level),
            decompress: DDict::try_create(bytes),
            bytes: bytes.to_vec(),
        })
    }

    /// The bytes it was made from.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its id: see [`dict_id`].
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn for_compression(&self) -> Result<&CDict<'static>> {
        self.compress.as_ref().ok_or_else(damaged)
    }

    pub(super) fn for_decompression(&self) -> Result<&DDict<'static>> {
        self.decompress.as_ref().ok_or_else(damaged)
    }
}

impl std::fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dictionary")
            .field("id", &self.id)
            .field("len", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

fn damaged() -> Error {
    Error::decode("cpu-zstd-dict", "dictionary is corrupted")
}

/// The id under which S4 stores a dictionary: the first 16 hexadecimal digits of its SHA-256.
#[must_use]
pub fn dict_id(bytes: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digest = sha256::digest(bytes);
    let nibbles = digest[..ID_LEN / 2]
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15]);
    nibbles
        .map(|nibble| char::from(HEX[usize::from(nibble)]))
        .collect()
}

/// Is `text` shaped like an id? It becomes part of an object key, so nothing else may pass.
#[must_use]
pub fn is_dict_id(text: &str) -> bool {
    text.len() == ID_LEN
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Trains a dictionary of at most `size` bytes from samples that lie back to back in `joined`.
///
/// # Errors
/// [`Error::Argument`] if there are too few samples (zstd wants several, in sum about 100 times the
/// size of the dictionary for a good one), or `lens` do not add up.
pub fn train(joined: &[u8], lens: &[usize], size: usize) -> Result<Vec<u8>> {
    if !TRAINED_LENS.contains(&size) {
        let (least, most) = (TRAINED_LENS.start(), TRAINED_LENS.end());
        return Err(Error::Argument(format!(
            "a dictionary of {size} bytes is not in {least}..={most}"
        )));
    }
    if lens
        .iter()
        .try_fold(0usize, |sum, &len| sum.checked_add(len))
        != Some(joined.len())
    {
        return Err(Error::Argument("sample lengths do not add up".into()));
    }
    let mut dict = Vec::with_capacity(size);
    zstd_safe::train_from_buffer(&mut dict, joined, lens).map_err(|code| {
        Error::Argument(format!(
            "cannot train a dictionary of {size} bytes from {} samples of {} bytes in all: {}; give more or larger samples",
            lens.len(),
            joined.len(),
            zstd_safe::get_error_name(code).to_lowercase(),
        ))
    })?;
    Ok(dict)
}
