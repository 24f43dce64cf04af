//! One buffer as shards: in `k` pieces one after the other, or striped over them block by block.
//!
//! Contiguous: shard `i` is `buf[i * len..(i + 1) * len]` with `len = ceil(size / k)`. Striped: block `i`
//! of stripe `s` is at `(s * k + i) * block` of the buffer and goes to shard `i`; the last stripe has
//! blocks of `ceil(rest / k)` bytes. What the buffer lacks is zeros. The parity of a shard made of
//! blocks is the parity of each of its blocks, one after the other.

use std::ops::Range;

use crate::{
    error::Result,
    memory,
    pool::Cancel,
    rs::{columns, decode::Survivors, encoder::Encoder, field::Matrix, kernel::Kernel, shape},
};

/// Columns that are copied and encoded at a time, and blocks from this length on are decoded in place.
const STEP: usize = 4 << 10;

/// Bytes of each shard of `size` bytes in `k` pieces.
///
/// # Errors
/// [`crate::Error::InvalidInput`] if one of them is 0.
pub fn shard_len(size: usize, k: usize) -> Result<usize> {
    if size == 0 {
        return shape::refuse("0 bytes cannot be split into shards".to_owned());
    }
    if k == 0 {
        return shape::refuse("0 data shards; at least one is needed".to_owned());
    }
    Ok(size.div_ceil(k))
}

/// Bytes of each shard of `size` bytes striped over `k` shards in blocks of `block`; 0 for 0 bytes.
///
/// # Errors
/// [`crate::Error::InvalidInput`] if `k` or `block` is 0 or a stripe is longer than memory can be.
pub fn striped_shard_len(size: usize, k: usize, block: usize) -> Result<usize> {
    let stripe = stripe_len(k, block)?;
    Ok(size / stripe * block + (size % stripe).div_ceil(k))
}

fn stripe_len(k: usize, block: usize) -> Result<usize> {
    if k == 0 {
        return shape::refuse("0 data shards; at least one is needed".to_owned());
    }
    if block == 0 {
        return shape::refuse("blocks of 0 bytes; at least one is needed".to_owned());
    }
    // A longer stripe holds every buffer, and so does the longest possible one.
    Ok(k.saturating_mul(block))
}

/// Copies `buf` into `outputs`, the data shards, and fills the rest of them with zeros.
///
/// # Errors
/// [`crate::Error::InvalidInput`] for an empty buffer, no output, and outputs that have not [`shard_len`] bytes.
pub fn split(buf: &[u8], outputs: &mut [&mut [u8]]) -> Result<()> {
    let len = shard_len(buf.len(), outputs.len())?;
    let mut rest = buf;
    for (index, output) in outputs.iter_mut().enumerate() {
        shape::check_len(format_args!("shard {index}"), output.len(), len)?;
        let (head, later) = rest.split_at(len.min(rest.len()));
        copy_padded(head, output);
        rest = later;
    }
    Ok(())
}

/// Copies the data shards `shards`, one after the other, into `output` until it is full.
///
/// # Errors
/// [`crate::Error::InvalidInput`] if they have not enough bytes.
pub fn join(shards: &[&[u8]], output: &mut [u8]) -> Result<()> {
    let size = output.len();
    let mut rest = output;
    for shard in shards {
        let (head, later) = rest.split_at_mut(shard.len().min(rest.len()));
        head.copy_from_slice(&shard[..head.len()]);
        rest = later;
    }
    if rest.is_empty() {
        return Ok(());
    }
    let have = size - rest.len();
    shape::refuse(format!("the shards have {have} bytes, {size} are wanted"))
}

/// Stripes `buf` over the first `k` outputs in blocks of `block` bytes and makes the parity shards, which
/// are the outputs after these.
///
/// # Errors
/// [`crate::Error::InvalidInput`] for counts that make no code, for blocks of 0 bytes, and for outputs that
/// have not [`striped_shard_len`] bytes; [`crate::Error::Interrupted`].
pub fn encode_striped(
    buf: &[u8],
    k: usize,
    block: usize,
    outputs: &mut [&mut [u8]],
    cancel: &Cancel,
) -> Result<()> {
    shape::check_list(outputs.len(), k)?;
    let len = striped_shard_len(buf.len(), k, block)?;
    for (index, output) in outputs.iter().enumerate() {
        shape::check_len(format_args!("shard {index}"), output.len(), len)?;
    }
    if len == 0 {
        return Ok(());
    }
    let stripes = Stripes::new(buf.len(), k, block);
    let encoder = Encoder::new(k, outputs.len() - k);
    columns::for_each(len, k, outputs, cancel, |range, parts| {
        // In steps, so that what was copied is still in the L2 cache when it is read again.
        for start in range.clone().step_by(STEP) {
            let columns = start..range.end.min(start + STEP);
            let within = start - range.start..columns.end - range.start;
            let mut parts: Vec<&mut [u8]> = parts
                .iter_mut()
                .map(|part| &mut part[within.clone()])
                .collect();
            let (data, parity) = parts.split_at_mut(k);
            for (index, part) in data.iter_mut().enumerate() {
                for (place, source) in stripes.pieces(index, columns.clone()) {
                    copy_padded(&buf[source], &mut part[place]);
                }
            }
            let data: Vec<&[u8]> = data.iter().map(|part| &**part).collect();
            encoder.run(&data, 0, parity);
        }
        Ok(())
    })
}

/// Fills `output` with what was striped over the first `k` of `shards`; `None` is a lost one.
///
/// # Errors
/// [`crate::Error::InvalidInput`] for counts that make no code, for blocks of 0 bytes, and for shards that
/// have not [`striped_shard_len`] bytes; [`crate::Error::ComputationFailed`] if fewer than `k` shards are
/// there; [`crate::Error::Interrupted`].
pub fn decode_striped(
    shards: &[Option<&[u8]>],
    k: usize,
    block: usize,
    output: &mut [u8],
    cancel: &Cancel,
) -> Result<()> {
    shape::check_list(shards.len(), k)?;
    let size = output.len();
    let len = striped_shard_len(size, k, block)?;
    for (index, shard) in shards.iter().enumerate() {
        if let Some(shard) = shard {
            shape::check_len(format_args!("shard {index}"), shard.len(), len)?;
        }
    }
    if len == 0 {
        return Ok(());
    }
    let survivors = Survivors::of(shards, k)?;
    let lost = (0..k).filter(|&index| shards[index].is_none());
    let decoding = Decoding {
        rows: survivors.rows(lost),
        survivors,
        shards: &shards[..k],
        kernel: Kernel::best(),
    };
    let stripes = Stripes::new(size, k, block);
    let task = columns::task_len(size);
    if stripes.len <= task {
        let (count, len) = (task / stripes.len, task / stripes.len * stripes.len);
        let tasks = output.chunks_mut(len).enumerate();
        return columns::run(tasks, size, cancel, |(index, output)| {
            decoding.stripes(&stripes, index * count, output);
            Ok(())
        });
    }
    let mut first = 0;
    for output in output.chunks_mut(stripes.len) {
        let own = stripes.block_len(output.len());
        let mut parts: Vec<&mut [u8]> = output.chunks_mut(own).collect();
        columns::for_each(own, k, &mut parts, cancel, |range, parts| {
            decoding.columns(first + range.start, parts);
            Ok(())
        })?;
        first += own;
    }
    Ok(())
}

/// How the data shards come back.
struct Decoding<'a> {
    /// All data shards.
    shards: &'a [Option<&'a [u8]>],
    survivors: Survivors<'a>,
    /// Those that make the lost data shards, in their order.
    rows: Matrix,
    kernel: Kernel,
}

impl Decoding<'_> {
    /// Fills `output`, whole stripes from number `first` on; the last stripe of all may be cut.
    fn stripes(&self, stripes: &Stripes, first: usize, output: &mut [u8]) {
        let start = first * stripes.block;
        if stripes.block >= STEP {
            for (index, output) in output.chunks_mut(stripes.len).enumerate() {
                let own = stripes.block_len(output.len());
                let mut parts: Vec<&mut [u8]> = output.chunks_mut(own).collect();
                self.columns(start + index * stripes.block, &mut parts);
            }
            return;
        }
        let whole = output.len() / stripes.len * stripes.block;
        let len = whole + stripes.block_len(output.len() % stripes.len);
        let mut made = memory::take();
        made.resize(len * self.rows.rows(), 0);
        let mut rows: Vec<&mut [u8]> = made.chunks_mut(len).collect();
        let inputs = &self.survivors.shards;
        self.kernel.dot(&self.rows, inputs, start, &mut rows, false);
        let mut rows = rows.iter();
        let data: Vec<&[u8]> = self
            .shards
            .iter()
            .filter_map(|shard| match shard {
                Some(shard) => Some(&shard[start..]),
                None => rows.next().map(|row| &**row),
            })
            .collect();
        for (index, output) in output.chunks_mut(stripes.len).enumerate() {
            let own = stripes.block_len(output.len());
            for (part, shard) in output.chunks_mut(own).zip(&data) {
                part.copy_from_slice(&shard[index * stripes.block..][..part.len()]);
            }
        }
        memory::give(made);
    }

    /// Fills the columns of the data shards from `start` on, of which the last ones may be shorter or not
    /// there at all.
    fn columns(&self, start: usize, parts: &mut [&mut [u8]]) {
        let len = parts.first().map_or(0, |part| part.len());
        let mut whole = Vec::new();
        let mut row = 0;
        for (part, shard) in parts.iter_mut().zip(self.shards) {
            if let Some(shard) = shard {
                part.copy_from_slice(&shard[start..start + part.len()]);
                continue;
            }
            if part.len() == len {
                whole.push(&mut **part);
            } else {
                // A row of its own: all rows of a product have the same length.
                let own = Matrix::new(self.rows.columns(), self.rows.row(row).to_vec());
                let inputs = &self.survivors.shards;
                self.kernel.dot(&own, inputs, start, &mut [part], false);
            }
            row += 1;
        }
        // The shorter ones are the last ones, so these rows are the first ones.
        let inputs = &self.survivors.shards;
        self.kernel
            .dot(&self.rows, inputs, start, &mut whole, false);
    }
}

/// Where the blocks of a striped buffer are.
struct Stripes {
    size: usize,
    data_shards: usize,
    block: usize,
    /// Bytes of a stripe.
    len: usize,
}

impl Stripes {
    fn new(size: usize, k: usize, block: usize) -> Self {
        Self {
            size,
            data_shards: k,
            block,
            len: k.saturating_mul(block),
        }
    }

    /// Bytes of the blocks of a stripe that has `len` bytes.
    fn block_len(&self, len: usize) -> usize {
        if len == self.len {
            self.block
        } else {
            len.div_ceil(self.data_shards)
        }
    }

    /// The pieces of the columns `range` of a data shard: where each is within `range`, and what of the
    /// buffer belongs there, which may be shorter.
    fn pieces(
        &self,
        shard: usize,
        range: Range<usize>,
    ) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let (start, end) = (range.start, range.end);
        (start / self.block..end.div_ceil(self.block)).map(move |stripe| {
            let first = stripe * self.block;
            let columns = start.max(first)..end.min(first.saturating_add(self.block));
            let from = stripe * self.len;
            let own = self.block_len(self.len.min(self.size - from));
            let source = |column: usize| (from + shard * own + (column - first)).min(self.size);
            (
                columns.start - start..columns.end - start,
                source(columns.start)..source(columns.end),
            )
        })
    }
}

/// Copies `bytes` to the front of `output`, which is at least as long, and zeros the rest.
fn copy_padded(bytes: &[u8], output: &mut [u8]) {
    let (head, padding) = output.split_at_mut(bytes.len());
    head.copy_from_slice(bytes);
    padding.fill(0);
}
