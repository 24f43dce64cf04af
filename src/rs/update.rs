//! Parity after one data shard has changed, without the other data shards.

use crate::{
    error::Result,
    pool::Cancel,
    rs::{check_counts, columns, field, kernel::Kernel, shape},
};

/// Columns whose change is made at a time; it stays in the L1 cache.
const CHANGED: usize = 4 << 10;

/// Changes `parity`, all parity shards of a code with `data_shards` data shards, as the data shard
/// `index` changes from `old` to `new`.
///
/// # Errors
/// [`crate::Error::InvalidInput`] for counts that make no code, for a shard that is no data shard and
/// for lengths that are 0 or differ; [`crate::Error::Interrupted`], which leaves the parity half
/// changed.
pub fn update(
    data_shards: usize,
    index: usize,
    old: &[u8],
    new: &[u8],
    parity: &mut [&mut [u8]],
    cancel: &Cancel,
) -> Result<()> {
    check_counts(data_shards, parity.len())?;
    shape::check_data_index(index, data_shards)?;
    let lens = parity.iter().enumerate();
    let len = shape::common_len(lens.map(|(row, shard)| (data_shards + row, shard.len())))?;
    shape::check_len(format_args!("the old shard {index}"), old.len(), len)?;
    shape::check_len(format_args!("the new shard {index}"), new.len(), len)?;
    let column = field::parity_column(data_shards, parity.len(), index as u8);
    let kernel = Kernel::best();
    columns::for_each(len, 2, parity, cancel, |range, parity| {
        let mut change = [0; CHANGED];
        for start in range.clone().step_by(CHANGED) {
            let end = range.end.min(start + CHANGED);
            let change = &mut change[..end - start];
            for ((byte, old), new) in change
                .iter_mut()
                .zip(&old[start..end])
                .zip(&new[start..end])
            {
                *byte = old ^ new;
            }
            let columns = start - range.start..end - range.start;
            let mut parts: Vec<&mut [u8]> = parity
                .iter_mut()
                .map(|shard| &mut shard[columns.clone()])
                .collect();
            kernel.dot(&column, &[change], 0, &mut parts, true);
        }
        Ok(())
    })
}
