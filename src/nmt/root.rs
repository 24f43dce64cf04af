//! The root of leaves that are all there, without keeping a tree.

use super::{
    fold::{Sides, fold},
    leaves::{Hashed, Slices, Sorted, Source},
};
use crate::{
    error::{Error, Result},
    nmt::Params,
    pool::Cancel,
};

/// Leaves and namespaces in one buffer each.
#[derive(Debug, Clone, Copy)]
pub struct Packed<'a> {
    /// Bytes of the leaves.
    pub data: &'a [u8],
    /// Where each leaf starts in `data`, and where the last one ends: one more than there are
    /// leaves. The first need not be 0, nor the last the end of `data`.
    pub offsets: &'a [u64],
    /// The namespaces of all leaves, joined.
    pub namespaces: &'a [u8],
}

/// The root of `leaves`, each in the namespace of the same index.
///
/// Runs on the threads of the pool that it is called in; the root does not depend on them.
///
/// # Errors
/// [`Error::InvalidInput`]: no leaves, counts that differ, or, named by its index, the first
/// namespace of another width or below its predecessor. [`Error::Interrupted`].
pub fn root(
    params: Params,
    leaves: &[&[u8]],
    namespaces: &[&[u8]],
    cancel: &Cancel,
) -> Result<Vec<u8>> {
    root_of(params, Slices::new(leaves, namespaces)?, cancel)
}

/// As [`root`], after a stable sort of the leaves by their namespaces.
///
/// # Errors
/// As [`root`], order apart.
pub fn sorted_root(
    params: Params,
    leaves: &[&[u8]],
    namespaces: &[&[u8]],
    cancel: &Cancel,
) -> Result<Vec<u8>> {
    root_of(
        params,
        Sorted::new(params, Slices::new(leaves, namespaces)?)?,
        cancel,
    )
}

/// As [`root`], of leaves in one buffer.
///
/// # Errors
/// As [`root`]; offsets that descend or point behind the data.
pub fn root_packed(params: Params, leaves: Packed<'_>, cancel: &Cancel) -> Result<Vec<u8>> {
    root_of(params, leaves.checked(params)?, cancel)
}

/// As [`root_packed`], after a stable sort of the leaves by their namespaces.
///
/// # Errors
/// As [`root_packed`], order apart.
pub fn sorted_root_packed(params: Params, leaves: Packed<'_>, cancel: &Cancel) -> Result<Vec<u8>> {
    root_of(
        params,
        Sorted::new(params, leaves.checked(params)?)?,
        cancel,
    )
}

fn root_of<S: Source>(params: Params, source: S, cancel: &Cancel) -> Result<Vec<u8>> {
    if source.count() == 0 {
        return Err(Error::InvalidInput("a tree needs at least one leaf".into()));
    }
    let leaves = Hashed { params, source };
    let root = fold(params, 0, &leaves, Sides::none(params), cancel)?;
    // Only namespaces that changed after they were compared lead here.
    let disorder = || Error::InvalidInput("the namespaces are out of order".into());
    Ok(root.ok_or_else(disorder)?.bytes().to_vec())
}
