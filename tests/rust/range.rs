//! Ranges: recorded look-ups, plans against a search of every row, decoding what was planned.

use proptest::prelude::*;
use serde_json::Value;
use shardpack::{
    Error, Result,
    codec::CpuZstd,
    error::IndexError,
    frame::{
        index::{Encryption, Entry, Index},
        range::{EncryptedPlan, Plan, decode_planned, plan_encrypted, plan_range},
        read::Decoding,
        write::{encode_frames, pad_to_minimum},
    },
    pool::Cancel,
};

use crate::{
    naive::{self, Row},
    vectors::{decoding, json, make, number, rows, text, unhex},
};

fn plan_row(plan: Plan) -> [u64; 6] {
    [
        plan.first_frame as u64,
        plan.last_frame as u64,
        plan.byte_start,
        plan.byte_end,
        plan.slice_start,
        plan.slice_end,
    ]
}

fn encrypted_row(plan: EncryptedPlan) -> [u64; 6] {
    [
        plan.first_chunk,
        plan.last_chunk,
        plan.byte_start,
        plan.byte_end,
        plan.slice_start,
        plan.slice_end,
    ]
}

fn index_rows(index: &Index) -> Vec<Row> {
    let row = |entry: &Entry| {
        [
            entry.original_offset,
            entry.original_size,
            entry.stored_offset,
            entry.stored_size,
        ]
    };
    index.entries.iter().map(row).collect()
}

fn recorded(value: &Value) -> Option<[u64; 6]> {
    let numbers = value.as_array()?;
    Some(std::array::from_fn(|at| numbers[at].as_u64().unwrap()))
}

#[test]
fn recorded_look_ups_are_found_again() {
    let file = json("s4/rule_vectors.json");
    let mut encrypted = 0;
    for row in rows(&file, "lookups") {
        let index = Index::decode(&unhex(text(&file["indexes"], text(&row, "index")))).unwrap();
        let (start, end) = (number(&row, "start"), number(&row, "end"));
        let plan = plan_range(&index, start, end);
        assert_eq!(plan.map(plan_row), recorded(&row["plan"]), "{row}");
        assert_eq!(
            naive::lookup(&index_rows(&index), start, end),
            recorded(&row["plan"]),
            "{row}"
        );
        let chunks = plan
            .zip(index.encryption)
            .and_then(|(plan, block)| plan_encrypted(&block, &plan));
        assert_eq!(
            chunks.map(encrypted_row),
            recorded(&row["encrypted"]),
            "{row}"
        );
        encrypted += usize::from(chunks.is_some());
    }
    assert!(encrypted > 5);
}

/// Rows in order, some empty, some behind a gap; small, so that every range can be asked for.
fn table() -> impl Strategy<Value = Vec<Row>> {
    let gap = || prop_oneof![3 => Just(0), 1 => 1..5_u64];
    prop::collection::vec((gap(), 0..8_u64, gap(), 0..9_u64), 0..8).prop_map(|rows| {
        let (mut original, mut stored) = (0, 0);
        rows.into_iter()
            .map(|(gap, original_size, padding, stored_size)| {
                let row = [original + gap, original_size, stored + padding, stored_size];
                (original, stored) = (row[0] + row[1], row[2] + row[3]);
                row
            })
            .collect()
    })
}

fn index_of(rows: &[Row]) -> Index {
    let entry = |row: &Row| Entry {
        original_offset: row[0],
        original_size: row[1],
        stored_offset: row[2],
        stored_size: row[3],
    };
    Index {
        entries: rows.iter().map(entry).collect(),
        ..Index::default()
    }
}

proptest! {
    #[test]
    fn every_range_of_any_table_is_planned_as_by_hand(table in table(), far: u64) {
        let index = index_of(&table);
        let total = index.total_original();
        for start in (0..total + 3).chain([far, u64::MAX]) {
            for end in (0..total + 3).chain([far, u64::MAX]) {
                let plan = plan_range(&index, start, end).map(plan_row);
                prop_assert_eq!(plan, naive::lookup(&table, start, end), "{}..{}", start, end);
            }
        }
    }

    #[test]
    fn any_encrypted_plan_is_as_by_hand(
        chunk_size in 1..20_u32, chunk_count in 1..8_u32, plaintext_len in 0..150_u64,
        header_len in 0..30_u32, start in 0..150_u64, len in 0..150_u64,
    ) {
        let block = Encryption { chunk_size, chunk_count, key_id: 0, salt: [0; 8], plaintext_len, header_len };
        let (byte_start, byte_end) = (start, start + len);
        let plan = Plan { first_frame: 0, last_frame: 0, byte_start, byte_end, slice_start: 0, slice_end: 0 };
        let expected = naive::encrypted(
            u64::from(chunk_size), u64::from(chunk_count), plaintext_len, u64::from(header_len), (start, start + len),
        );
        prop_assert_eq!(plan_encrypted(&block, &plan).map(encrypted_row), expected);
    }

    #[test]
    fn absurd_numbers_never_panic(numbers: [u64; 6], block: (u32, u32, u64, u32)) {
        let [byte_start, byte_end, ..] = numbers;
        let plan = Plan { first_frame: 0, last_frame: 0, byte_start, byte_end, slice_start: 0, slice_end: 0 };
        let (chunk_size, chunk_count, plaintext_len, header_len) = block;
        let block = Encryption {
            chunk_size: chunk_size.max(1), chunk_count: chunk_count.max(1), key_id: 0, salt: [0; 8], plaintext_len, header_len,
        };
        let _ = plan_encrypted(&block, &plan);
        let table = [[numbers[2], numbers[3], numbers[4], numbers[5]]];
        if numbers[2].checked_add(numbers[3]).is_some() && numbers[4].checked_add(numbers[5]).is_some() {
            let plan = plan_range(&index_of(&table), byte_start, byte_end);
            prop_assert_eq!(plan.map(plan_row), naive::lookup(&table, byte_start, byte_end));
        }
    }
}

/// A body of several frames with padding in between, and what it holds.
fn body() -> (Vec<u8>, Vec<u8>) {
    let plain = make("lines", "a", 2500);
    let mut body = Vec::new();
    for frame in encode_frames(&CpuZstd::new(3, false), &plain, 600, &Cancel::new())
        .unwrap()
        .frames
    {
        body.extend(frame);
        let minimum = body.len() + 20;
        pad_to_minimum(&mut body, minimum).unwrap();
    }
    (body, plain)
}

fn decode(index: &Index, body: &[u8], start: u64, end: u64) -> Result<Vec<u8>> {
    let plan = plan_range(index, start, end).expect("a plan");
    let window = &body[plan.byte_start as usize..plan.byte_end as usize];
    Ok(decode_planned(index, &plan, window, decoding())?
        .bytes()
        .to_vec())
}

#[test]
fn what_was_planned_decodes_to_the_range() {
    let (body, text) = body();
    let index = Index::build(&body).unwrap();
    assert_eq!(index.entries.len(), 5);
    for start in (0..2500).step_by(97) {
        for end in (start + 1..=2600).step_by(89) {
            let range = decode(&index, &body, start as u64, end as u64).unwrap();
            assert_eq!(range, text[start..end.min(2500)], "{start}..{end}");
        }
    }
    let plan = plan_range(&index, 601, 1199).unwrap();
    assert_eq!(
        (plan.first_frame, plan.last_frame),
        (1, 1),
        "one frame is enough"
    );
}

#[test]
fn an_index_that_is_not_that_of_the_body_is_refused() {
    let (body, _) = body();
    let good = Index::build(&body).unwrap();
    let lie = |change: &dyn Fn(&mut Vec<Entry>)| {
        let mut index = good.clone();
        change(&mut index.entries);
        decode(&index, &body, 700, 1300)
    };
    let mismatch = |number| Err(Error::Index(IndexError::FrameMismatch(number)));
    assert!(lie(&|_| ()).is_ok());
    // The size of a frame, the place of one, one too many, one too few.
    assert_eq!(
        lie(&|entries| {
            entries[1].original_size -= 1;
            for entry in &mut entries[2..] {
                entry.original_offset -= 1;
            }
        }),
        mismatch(1)
    );
    assert_eq!(lie(&|entries| entries[0].original_offset = 1), mismatch(0));
    assert_eq!(
        lie(&|entries| {
            entries[3].original_offset += 1;
        }),
        mismatch(3)
    );
    assert_eq!(
        lie(&|entries| {
            entries[2].stored_offset += 1;
            entries[2].stored_size -= 1;
        }),
        mismatch(2)
    );
    assert!(lie(&|entries| entries[2].stored_offset += 1).is_err());
    assert_eq!(
        lie(&|entries| {
            let second = entries.remove(1);
            entries[1].original_offset = second.original_offset;
            entries[1].original_size += second.original_size;
        }),
        mismatch(1)
    );
    assert!(lie(&|entries| entries[1].stored_offset -= 3).is_err());
}

#[test]
fn the_limit_is_that_of_the_frames_that_are_decoded() {
    let (body, _) = body();
    let index = Index::build(&body).unwrap();
    let plan = plan_range(&index, 700, 710).unwrap();
    let window = &body[plan.byte_start as usize..plan.byte_end as usize];
    let limited = |limit| {
        decode_planned(
            &index,
            &plan,
            window,
            Decoding {
                limit,
                ..decoding()
            },
        )
    };
    assert_eq!(limited(600).unwrap().bytes().len(), 10);
    assert_eq!(
        limited(599).unwrap_err(),
        Error::ClaimExceedsLimit {
            requested: 600,
            limit: 599
        }
    );
}
