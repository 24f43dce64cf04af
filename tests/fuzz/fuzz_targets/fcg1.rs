//! Containers of GPU payloads: parsed, and decoded if they are small.

#![no_main]

use libfuzzer_sys::fuzz_target;
use shardpack::{
    codec::CodecKind,
    gpu::fcg1::{Container, decompress_into},
    pool::Cancel,
};

const MAX_LEN: u64 = 1 << 20;

fuzz_target!(|payload: &[u8]| {
    let Ok(container) = Container::parse(payload) else {
        return;
    };
    let total: u64 = container.chunks().map(|chunk| chunk.original_len as u64).sum();
    assert_eq!(total, container.original_size());
    assert_eq!(container.chunks().len(), container.chunk_count());
    if total > MAX_LEN {
        return;
    }
    let mut bytes = vec![0; total as usize];
    for kind in [CodecKind::NvcompZstd, CodecKind::NvcompGdeflate] {
        let _ = decompress_into(payload, kind, &mut bytes, &Cancel::new());
    }
});
