//! Parity of data that comes in pieces, in any order.

use std::collections::BTreeMap;

use crate::{
    error::{Error, Result},
    pool::Cancel,
    rs::{
        check_counts, columns,
        field::{self, Matrix},
        kernel::Kernel,
        shape,
    },
};

/// Parity shards that grow as the bytes of the data shards come in, each byte once.
///
/// It keeps the parity shards and the places of what has come, not the data.
#[derive(Debug, Clone)]
pub struct Encoder {
    data_shards: usize,
    shard_len: usize,
    parity: Vec<Vec<u8>>,
    /// For each data shard what has come of it: ends of ranges by their starts; no two of them touch.
    received: Vec<BTreeMap<usize, usize>>,
}

impl Encoder {
    /// The encoder of a code with `k` data and `m` parity shards of `shard_len` bytes each.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for counts that make no code and shards of 0 bytes;
    /// [`Error::ComputationFailed`] if the parity does not fit into memory.
    pub fn new(k: usize, m: usize, shard_len: usize) -> Result<Self> {
        check_counts(k, m)?;
        if shard_len == 0 {
            return shape::refuse("shards of 0 bytes; at least one is needed".to_owned());
        }
        let whole = shard_len.saturating_mul(m);
        if Vec::<u8>::new().try_reserve_exact(whole).is_err() {
            return Err(Error::ComputationFailed(format!(
                "{m} parity shards of {shard_len} bytes do not fit into memory"
            )));
        }
        Ok(Self {
            data_shards: k,
            shard_len,
            parity: vec![vec![0; shard_len]; m],
            received: vec![BTreeMap::new(); k],
        })
    }

    /// Takes in `piece`, which stands at `offset` of data shard `index`.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if it is no data shard, the piece goes beyond its end, or some of its bytes
    /// have come before; nothing has changed then.
    pub fn add(&mut self, index: usize, piece: &[u8], offset: usize) -> Result<()> {
        shape::check_data_index(index, self.data_shards)?;
        let end = offset.saturating_add(piece.len());
        if end > self.shard_len {
            return shape::refuse(format!(
                "shard {index}: {} bytes at offset {offset} go beyond its {} bytes",
                piece.len(),
                self.shard_len
            ));
        }
        if piece.is_empty() {
            return Ok(());
        }
        self.receive(index, offset, end)?;
        let column = field::parity_column(self.data_shards, self.parity.len(), index as u8);
        let parity = self.parity.iter_mut();
        let mut parts: Vec<&mut [u8]> = parity.map(|shard| &mut shard[offset..end]).collect();
        accumulate(&column, piece, &mut parts)
    }

    /// The parity shards, once all bytes have come.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] naming the first bytes that are missing.
    pub fn parity(&self) -> Result<&[Vec<u8>]> {
        for (index, received) in self.received.iter().enumerate() {
            let first = received.first_key_value();
            let (start, end) = match first {
                Some((0, &end)) if end == self.shard_len => continue,
                Some((0, &end)) => {
                    let next = received.keys().nth(1);
                    (end, next.copied().unwrap_or(self.shard_len))
                }
                Some((&start, _)) => (0, start),
                None => (0, self.shard_len),
            };
            return shape::refuse(format!(
                "shard {index} is incomplete: bytes {start}..{end} are missing"
            ));
        }
        Ok(&self.parity)
    }

    /// How many data shards there are.
    #[must_use]
    pub fn data_shards(&self) -> usize {
        self.data_shards
    }

    /// How many parity shards there will be.
    #[must_use]
    pub fn parity_shards(&self) -> usize {
        self.parity.len()
    }

    /// Bytes of each shard.
    #[must_use]
    pub fn shard_len(&self) -> usize {
        self.shard_len
    }

    /// Notes that `start..end` has come.
    fn receive(&mut self, index: usize, start: usize, end: usize) -> Result<()> {
        let received = &mut self.received[index];
        let before = received.range(..end).next_back().map(|(&a, &b)| (a, b));
        if let Some((_, before_end)) = before
            && before_end > start
        {
            // The earliest of the ranges that overlap holds the first byte that came twice.
            let first = received.range(..=start).next_back();
            let at = match first {
                Some((_, &first_end)) if first_end > start => start,
                _ => received.range(start..).next().map_or(start, |(&a, _)| a),
            };
            return shape::refuse(format!(
                "shard {index}: the byte at offset {at} was added before"
            ));
        }
        let start = match before {
            Some((before_start, before_end)) if before_end == start => before_start,
            _ => start,
        };
        let end = received.remove(&end).unwrap_or(end);
        received.insert(start, end);
        Ok(())
    }
}

fn accumulate(column: &Matrix, piece: &[u8], parity: &mut [&mut [u8]]) -> Result<()> {
    let kernel = Kernel::best();
    let never = Cancel::new();
    columns::for_each(piece.len(), 1, parity, &never, |range, parity| {
        kernel.dot(column, &[piece], range.start, parity, true);
        Ok(())
    })
}
