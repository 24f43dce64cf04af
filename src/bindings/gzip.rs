//! The gzip codec.

use pyo3::{prelude::*, types::PyBytes};

use super::{
    buffer::Input,
    codec::{Codec, hash_of},
    output,
    run::{Work, run},
};
use crate::codec::{self, gzip};

/// The codec ``cpu-gzip``: one gzip member (RFC 1952) per payload.
///
/// Args:
///     level: 0 (stored) to 9 (small); higher levels count as 9.
#[pyclass(module = "shardpack", extends = Codec, frozen)]
pub struct CpuGzip {
    codec: codec::CpuGzip,
}

#[pymethods]
impl CpuGzip {
    #[new]
    #[pyo3(signature = (level=6))]
    fn new(level: u32) -> PyClassInitializer<Self> {
        let codec = codec::CpuGzip::new(level);
        Codec::under(codec, Self { codec })
    }

    /// The level in force.
    #[getter]
    fn level(&self) -> u32 {
        self.codec.level()
    }

    /// Compress as independent members, in parallel.
    ///
    /// The result is plain gzip for every reader; readers that know the length field of the members
    /// (``decompress_all``, pgzip) decode them in parallel. The bytes do not depend on ``threads``.
    ///
    /// Args:
    ///     data: Any C-contiguous buffer.
    ///     member_size: Original bytes per member, 1 to 2**30.
    ///     threads: Threads to use; by default see ``thread_count``.
    ///
    /// Returns:
    ///     The members, joined; one empty member for no data.
    #[pyo3(signature = (data, *, member_size=gzip::DEFAULT_MEMBER_LEN, threads=None))]
    fn compress_members(
        &self,
        py: Python<'_>,
        data: Input,
        member_size: usize,
        threads: Option<usize>,
    ) -> PyResult<Py<PyBytes>> {
        let codec = self.codec;
        let work = Work::compress(data.bytes().len()).on(threads);
        run(py, work, move |cancel| {
            let members = codec.compress_members(data.bytes(), member_size, cancel)?;
            output::join(&members.iter().map(Vec::as_slice).collect::<Vec<_>>())
        })
    }

    fn __repr__(&self) -> String {
        format!("CpuGzip(level={})", self.level())
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other
            .cast::<Self>()
            .is_ok_and(|other| self.level() == other.get().level())
    }

    fn __hash__(&self) -> u64 {
        hash_of(("cpu-gzip", self.level()))
    }

    fn __getnewargs__(&self) -> (u32,) {
        (self.level(),)
    }
}
