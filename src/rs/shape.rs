//! What all calls check first: counts that make a code, shards that make a codeword.

use crate::{
    error::{Error, Result},
    rs::MAX_SHARDS,
};

/// Whether there is a code with `k` data and `m` parity shards.
///
/// # Errors
/// [`Error::InvalidInput`] if one of them is 0 or both together are more than 256.
pub fn check_counts(k: usize, m: usize) -> Result<()> {
    if k == 0 {
        return refuse("0 data shards; at least one is needed".to_owned());
    }
    if m == 0 {
        return refuse("0 parity shards; at least one is needed".to_owned());
    }
    if k.saturating_add(m) > MAX_SHARDS {
        return refuse(format!(
            "{k} data and {m} parity shards; together they may be {MAX_SHARDS} at most"
        ));
    }
    Ok(())
}

/// As [`check_counts`], for a list of all shards.
pub fn check_list(shards: usize, data_shards: usize) -> Result<()> {
    if shards <= data_shards && data_shards > 0 {
        return refuse(format!(
            "{shards} shards with {data_shards} data shards leave no parity shard"
        ));
    }
    check_counts(data_shards, shards - data_shards)
}

/// The length that all shards have, given with their indexes.
pub fn common_len(mut shards: impl Iterator<Item = (usize, usize)>) -> Result<usize> {
    let Some((first, len)) = shards.next() else {
        return refuse("no shards".to_owned());
    };
    if let Some((index, other)) = shards.find(|&(_, other)| other != len) {
        return refuse(format!(
            "shard {index} has {other} bytes, shard {first} has {len}"
        ));
    }
    if len == 0 {
        return refuse(format!(
            "shard {first} is empty; a shard has at least one byte"
        ));
    }
    Ok(len)
}

/// That a buffer has the length it must have; `what` names it.
pub fn check_len(what: std::fmt::Arguments<'_>, len: usize, expected: usize) -> Result<()> {
    if len == expected {
        return Ok(());
    }
    refuse(format!("{what} has {len} bytes, {expected} are expected"))
}

/// That `index` is a data shard of `data_shards`.
pub fn check_data_index(index: usize, data_shards: usize) -> Result<()> {
    if index < data_shards {
        return Ok(());
    }
    refuse(format!(
        "shard {index} is no data shard; there are {data_shards} of them"
    ))
}

/// The error for input that cannot be worked on.
pub fn refuse<T>(message: String) -> Result<T> {
    Err(Error::InvalidInput(message))
}
