//! The Python module `shardpack._native`: flat and private; Python files give it its structure.
//!
//! The only code that knows Python. It translates arguments, results and errors, and decides where
//! and how long native work runs (`run.rs`); everything else is the core's.

mod array;
mod batch;
mod buffer;
mod checksum;
mod codec;
mod error;
mod frame;
mod gzip;
mod index;
mod object;
mod output;
mod run;
mod stream;
mod zstd;

use pyo3::prelude::*;

/// The compiled core of shardpack. Private: import from ``shardpack`` instead.
#[pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    use super::{
        array::BinaryArray,
        checksum::{crc32c, crc32c_combine},
        codec::{Codec, Passthrough, pick_codec},
        frame::{
            decode_frames, encode_frames, frame_iter, pad_part, parse_frame_header,
            pick_chunk_size, read_frame, write_frame,
        },
        gzip::CpuGzip,
        index::{
            bind_index, build_index, decode_index, encode_index, index_is_trusted, plan_range,
        },
        object::{decode_object, decode_range, encode_object, encode_s4_object, verify_object},
        stream::{Compressor, Decompressor},
        thread_count,
        zstd::{CpuZstd, CpuZstdDict, dict_id, train_dict},
    };

    use pyo3::{prelude::*, types::PyBytes};

    use crate::{codec, frame, gpu, pool};

    /// Is there a GPU codec? Never in this version.
    #[pyfunction]
    fn gpu_available() -> bool {
        gpu::available()
    }

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        pool::prepare();
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("MAX_ORIGINAL_SIZE", codec::MAX_ORIGINAL_SIZE)?;
        module.add("FRAME_MAGIC", PyBytes::new(py, &frame::FRAME_MAGIC))?;
        module.add("PADDING_MAGIC", PyBytes::new(py, &frame::PADDING_MAGIC))?;
        module.add("FRAME_HEADER_BYTES", frame::FRAME_HEADER_LEN)?;
        module.add("SIDECAR_SUFFIX", frame::SIDECAR_SUFFIX)
    }
}

/// Threads that a parallel call uses unless told otherwise.
///
/// The first that is set of ``SHARDPACK_NUM_THREADS``, ``RAYON_NUM_THREADS`` and
/// ``OMP_NUM_THREADS``, else the cores this process may use (affinity and cgroup quota).
///
/// Returns:
///     A number from 1 to 256.
#[pyfunction]
fn thread_count() -> usize {
    crate::pool::default_threads()
}
