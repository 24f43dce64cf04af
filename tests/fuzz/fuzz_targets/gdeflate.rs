//! `GDeflate` streams: any bytes, into buffers of any length.

#![no_main]

use libfuzzer_sys::fuzz_target;
use shardpack::gpu::gdeflate::decompress_into;

const MAX_LEN: usize = 64 << 10;

fuzz_target!(|stream: &[u8]| {
    let mut bytes = vec![0; MAX_LEN];
    // The length is taken from the end, so that recorded streams are seeds as they are.
    let tail = stream.last_chunk::<2>().map_or(0, |tail| u16::from_le_bytes(*tail));
    for len in [MAX_LEN, usize::from(tail)] {
        if decompress_into(stream, &mut bytes[..len]).is_ok() {
            assert!(len == 0 || decompress_into(stream, &mut bytes[..len - 1]).is_err());
        }
    }
});
