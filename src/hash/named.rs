//! What callers ask for by name: the algorithms of [`Algorithm`], and CRC32C as a digest of four
//! bytes (big-endian, the order of S3's checksum headers).

use rayon::prelude::*;

use crate::{
    checksum::{crc32c_many_parallel, crc32c_parallel},
    error::{Error, Result},
    hash::{Algorithm, DIGEST_LEN, Hasher, blake3, digest_many_parallel},
    pool::{self, Cancel},
};

/// Bytes of a CRC32C.
const CRC_LEN: usize = 4;
/// Bytes that a thread hashes between two looks at the request to stop: some milliseconds.
const SLICE: usize = 4 << 20;
/// Output of BLAKE3 that one thread makes at a time.
const OUTPUT_PIECE: usize = 256 << 10;

/// An algorithm with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// A hash.
    Hash(Algorithm),
    /// The checksum.
    Crc32c,
}

impl Named {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Hash(Algorithm::Blake3),
        Self::Hash(Algorithm::Sha256),
        Self::Hash(Algorithm::Keccak256),
        Self::Hash(Algorithm::Sha3_256),
        Self::Crc32c,
    ];

    /// The algorithm of that name.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if there is none.
    pub fn of_name(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|one| one.name() == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::InvalidInput(format!("unknown algorithm {name:?}; there are {names}"))
        })
    }

    /// The name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hash(algorithm) => algorithm.name(),
            Self::Crc32c => "crc32c",
        }
    }

    /// Bytes of a digest.
    #[must_use]
    pub const fn digest_len(self) -> usize {
        match self {
            Self::Hash(_) => DIGEST_LEN,
            Self::Crc32c => CRC_LEN,
        }
    }

    /// Bytes that the algorithm takes in at a time.
    #[must_use]
    pub const fn block_len(self) -> usize {
        match self {
            Self::Hash(algorithm) => algorithm.block_len(),
            Self::Crc32c => 1,
        }
    }

    /// The digests of many messages, one behind the other in `packed`, on the threads of the pool
    /// that this runs in.
    ///
    /// # Errors
    /// [`Error::Interrupted`]; [`Error::InvalidInput`] if `packed` has another length.
    pub fn digest_many(self, messages: &[&[u8]], packed: &mut [u8], cancel: &Cancel) -> Result<()> {
        let due = messages.len() * self.digest_len();
        if packed.len() != due {
            let given = packed.len();
            return Err(Error::InvalidInput(format!(
                "{due} bytes of digests do not fit in {given}"
            )));
        }
        let is_short = |message: &&[u8]| message.len() <= SLICE;
        if messages.iter().all(is_short) {
            return self.digest_short(messages, packed, cancel);
        }
        // A long message would keep its task from noticing that it should stop.
        let short: Vec<_> = messages
            .iter()
            .map(|message| if is_short(message) { *message } else { &[] })
            .collect();
        self.digest_short(&short, packed, cancel)?;
        let mut long: Vec<_> = messages
            .iter()
            .zip(packed.chunks_exact_mut(self.digest_len()))
            .filter(|(message, _)| !is_short(message))
            .collect();
        let work = |(message, digest): &mut (&&[u8], &mut [u8])| {
            let mut hasher = NamedHasher::new(self);
            hasher.update_long(message, cancel)?;
            digest.copy_from_slice(&hasher.digest());
            Ok(())
        };
        if pool::workers() < 2 {
            long.iter_mut().try_for_each(work)
        } else {
            long.par_iter_mut().try_for_each(work)
        }
    }

    fn digest_short(self, messages: &[&[u8]], packed: &mut [u8], cancel: &Cancel) -> Result<()> {
        match self {
            Self::Hash(algorithm) => {
                let (digests, _) = packed.as_chunks_mut();
                digest_many_parallel(algorithm, messages, digests, cancel)
            }
            Self::Crc32c => {
                let mut crcs = vec![0; messages.len()];
                crc32c_many_parallel(messages, &mut crcs, cancel)?;
                for (digest, crc) in packed.chunks_exact_mut(CRC_LEN).zip(crcs) {
                    digest.copy_from_slice(&crc.to_be_bytes());
                }
                Ok(())
            }
        }
    }
}

/// A message that comes in pieces.
#[derive(Debug, Clone)]
#[expect(
    clippy::large_enum_variant,
    reason = "the small one is the exception; a box would cost all others"
)]
pub enum NamedHasher {
    /// Of a hash.
    Hash(Hasher),
    /// The CRC32C so far.
    Crc32c(u32),
}

impl NamedHasher {
    /// The hasher of an empty message.
    #[must_use]
    pub fn new(algorithm: Named) -> Self {
        match algorithm {
            Named::Hash(algorithm) => Self::Hash(Hasher::new(algorithm)),
            Named::Crc32c => Self::Crc32c(0),
        }
    }

    /// Appends to the message.
    pub fn update(&mut self, piece: &[u8]) {
        match self {
            Self::Hash(hasher) => hasher.update(piece),
            Self::Crc32c(crc) => *crc = crc32c_parallel(piece, *crc),
        }
    }

    /// Appends to the message, however long the piece is.
    ///
    /// # Errors
    /// [`Error::Interrupted`], with some of the piece appended.
    pub fn update_long(&mut self, piece: &[u8], cancel: &Cancel) -> Result<()> {
        if let Self::Hash(hasher) = self {
            return update(hasher, piece, cancel);
        }
        for slice in slices(piece) {
            cancel.check()?;
            self.update(slice);
        }
        Ok(())
    }

    /// The digest of the message so far, which can go on.
    #[must_use]
    pub fn digest(&self) -> Vec<u8> {
        match self {
            Self::Hash(hasher) => hasher.digest().to_vec(),
            Self::Crc32c(crc) => crc.to_be_bytes().to_vec(),
        }
    }
}

/// Appends to a message, however long the piece is, on the threads of the pool that this runs in.
///
/// # Errors
/// [`Error::Interrupted`], with some of the piece appended.
pub fn update(hasher: &mut Hasher, piece: &[u8], cancel: &Cancel) -> Result<()> {
    for slice in slices(piece) {
        cancel.check()?;
        hasher.update(slice);
    }
    Ok(())
}

/// Cuts a long piece such that every thread has enough of each slice; a power of two, so that
/// BLAKE3 finds whole subtrees.
fn slices(piece: &[u8]) -> impl Iterator<Item = &[u8]> {
    piece.chunks(SLICE * pool::workers().next_power_of_two())
}

/// Fills `output` with the bytes of the output from `seek` on, on the threads of the pool that this
/// runs in.
///
/// # Errors
/// [`Error::Interrupted`]; [`Error::InvalidInput`] beyond the end of the output at 2^64 bytes.
pub fn read(hasher: &blake3::Blake3, output: &mut [u8], seek: u64, cancel: &Cancel) -> Result<()> {
    let len = output.len();
    if seek.checked_add(len as u64).is_none() {
        return Err(Error::InvalidInput(format!(
            "{len} bytes from {seek} on are beyond the end of the output at 2^64"
        )));
    }
    let work = |(index, piece): (usize, &mut [u8])| {
        cancel.check()?;
        hasher.read(piece, seek + (index * OUTPUT_PIECE) as u64);
        Ok(())
    };
    if len <= OUTPUT_PIECE {
        work((0, output))
    } else if pool::workers() < 2 {
        let mut pieces = output.chunks_mut(OUTPUT_PIECE).enumerate();
        pieces.try_for_each(work)
    } else {
        let pieces = output.par_chunks_mut(OUTPUT_PIECE).enumerate();
        pieces.try_for_each(work)
    }
}
