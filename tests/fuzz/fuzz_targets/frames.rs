//! Bodies of frames and padding: walked, then decoded within a limit.

#![no_main]

use libfuzzer_sys::fuzz_target;
use shardpack::{
    frame::read::{Decoding, Frames, decode_frames, output_len, read_frames},
    pool::Cancel,
};

const LIMIT: u64 = 1 << 20;

fuzz_target!(|body: &[u8]| {
    let walked: Vec<_> = Frames::new(body).collect();
    let stored: u64 = walked.iter().flatten().map(|frame| frame.stored_len()).sum();
    assert!(stored <= body.len() as u64);
    let Ok(frames) = read_frames(body) else {
        return;
    };
    assert_eq!(frames.len(), walked.len());
    let cancel = Cancel::new();
    let decoding = Decoding { dictionary: None, dict_id: None, limit: LIMIT, cancel: &cancel };
    if let Ok(len) = output_len(&frames, decoding) {
        assert!(len as u64 <= LIMIT);
        let _ = decode_frames(&frames, &mut vec![0; len], decoding);
    }
});
