//! Sidecars: what is accepted survives being written again, and plans stay inside of it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use shardpack::frame::{
    index::Index,
    range::{plan_encrypted, plan_range},
};

fuzz_target!(|bytes: &[u8]| {
    let Ok(index) = Index::decode(bytes) else {
        return;
    };
    assert_eq!(Index::decode(&index.encode()).as_ref(), Ok(&index));
    let total = index.total_original();
    for (start, end) in [(0, u64::MAX), (total / 2, total), (total / 3, total / 3 + 1)] {
        let Some(plan) = plan_range(&index, start, end) else {
            continue;
        };
        assert!(plan.first_frame <= plan.last_frame && plan.last_frame < index.entries.len());
        assert!(plan.byte_start <= plan.byte_end);
        assert_eq!(plan.slice_end - plan.slice_start, end.min(total) - start);
        if let Some(encryption) = &index.encryption {
            let _ = plan_encrypted(encryption, &plan);
        }
    }
});
