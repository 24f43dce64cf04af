//! The Python module `shardpack._native`: flat and private; Python files give it its structure.
//!
//! The only code that knows Python. It translates arguments, results and errors, and decides where
//! and how long native work runs (`run.rs`); everything else is the core's.

mod array;
mod batch;
mod buffer;
mod checksum;
mod codec;
mod cpu;
mod digests;
mod error;
mod frame;
mod gzip;
mod gzip_points;
mod hash;
mod hasher;
mod index;
mod md5;
mod nmt;
mod nmt_proof;
mod object;
mod output;
mod quick;
mod rs;
mod rs_layout;
mod run;
mod shards;
mod source;
mod stream;
mod turn;
mod zstd;

use pyo3::prelude::*;

/// The compiled core of shardpack. Private: import from ``shardpack`` instead.
#[pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    use super::{
        array::BinaryArray,
        checksum::{crc32c_combine, crc32c_many},
        codec::{Codec, Passthrough, pick_codec},
        cpu::cpu_features,
        digests::{hash_file, hash_many, hash_many_packed},
        frame::{
            decode_frames, encode_frames, frame_iter, pad_part, parse_frame_header,
            pick_chunk_size, read_frame, write_frame,
        },
        gzip::CpuGzip,
        gzip_points::{GzipIndexer, gzip_resume},
        hash::{blake3, keccak256, sha3_256, sha256},
        hasher::{Blake3, Crc32c, Hasher, Keccak256, Sha3_256, Sha256},
        index::{
            bind_index, build_index, decode_index, encode_index, index_is_trusted, plan_range,
        },
        md5::md5_many,
        nmt::{Tree, nmt_empty_root, nmt_parse_root, nmt_root, nmt_root_packed},
        nmt_proof::{Proof, nmt_verify, nmt_verify_namespace, nmt_verify_range},
        object::{decode_object, decode_range, encode_object, encode_s4_object, verify_object},
        rs::{
            rs_encode, rs_encode_into, rs_locate, rs_rebuild, rs_rebuild_into, rs_repair,
            rs_update, rs_verify,
        },
        rs_layout::{Encoder, rs_decode_striped, rs_encode_striped, rs_join, rs_split},
        stream::{Compressor, Decompressor},
        thread_count,
        zstd::{CpuZstd, CpuZstdDict, dict_id, train_dict},
    };

    use pyo3::{prelude::*, types::PyBytes};

    use crate::{codec, cpu, frame, gpu, pool};

    /// Is there a GPU codec? Never in this version.
    #[pyfunction]
    fn gpu_available() -> bool {
        gpu::available()
    }

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        cpu::select()?;
        pool::prepare();
        super::quick::register(module)?;
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
