//! `cpu_features`: what the CPU can do, and what of it is in use.

use pyo3::{prelude::*, types::PyDict};

use crate::{
    checksum, cpu,
    hash::{blake3, keccak, md5, sha256},
    rs,
};

/// What the CPU can do, and what of it the kernels use.
///
/// The environment variable ``SHARDPACK_CPU`` caps the level; it is read once, at import.
///
/// Returns:
///     ``level``, the one in use; ``levels``, those that this CPU has, the lowest first;
///     ``features``, a dict of names and whether they are in use; ``kernels``, a dict of what is
///     computed and the name of the code that does it. That of ``blake3`` is for batches of short
///     messages; a long one is left to the blake3 crate, which looks at the CPU by itself.
#[pyfunction]
pub fn cpu_features(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let features = PyDict::new(py);
    for (name, in_use) in cpu::features() {
        features.set_item(name, in_use)?;
    }
    let kernels = PyDict::new(py);
    kernels.set_item("crc32c", checksum::Kernel::best().name())?;
    kernels.set_item("blake3", blake3::Kernel::best().name())?;
    kernels.set_item("sha256", sha256::Kernel::best().name())?;
    kernels.set_item("keccak", keccak::Kernel::best().name())?;
    kernels.set_item("md5", md5::Kernel::best().name())?;
    kernels.set_item("rs", rs::kernel::Kernel::best().name())?;
    let found = PyDict::new(py);
    found.set_item("level", cpu::level())?;
    found.set_item("levels", cpu::levels())?;
    found.set_item("features", features)?;
    found.set_item("kernels", kernels)?;
    Ok(found)
}
