//! gzip files: every checkpoint of one that decodes gives what follows it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use shardpack::{
    codec::{
        gzip_points::{self, GzipIndexer},
        stream::Decompress,
    },
    pool::Cancel,
};

const SPAN: u64 = 32 << 10;
const MAX_LEN: usize = 1 << 20;

fuzz_target!(|stored: &[u8]| {
    let Ok(mut indexer) = GzipIndexer::new(SPAN) else {
        return;
    };
    let mut out = Vec::new();
    let Ok(_) = indexer.decompress(stored, &mut out, MAX_LEN) else {
        return;
    };
    assert!(out.len() <= MAX_LEN);
    for point in indexer.take_points() {
        let expected = &out[point.original as usize..];
        let mut found = vec![0; expected.len()];
        let rest = &stored[point.stored as usize..];
        let result =
            gzip_points::resume(&point.window, point.bits, rest, &mut found, &Cancel::new());
        // What lies behind the last byte that is asked for may be damaged, and may be looked at.
        assert!(result.is_err() || found == expected);
        assert!(result.is_ok() || out.len() == MAX_LEN);
    }
    // Any bytes are a window, and any a stream that begins inside of a byte.
    if let [bits, rest @ ..] = stored {
        let mut found = vec![0; 4096];
        let (window, data) = rest.split_at(rest.len() / 2);
        let _ = gzip_points::resume(window, bits % 9, data, &mut found, &Cancel::new());
    }
});
