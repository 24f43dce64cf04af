//! Sidecars: recorded outcomes, round trips, the checks in order, trust.

use proptest::prelude::*;
use serde_json::{Value, json};
use shardpack::{
    Error,
    codec::CodecKind,
    error::{FrameError, IndexError},
    frame::{
        FrameHeader,
        index::{Encryption, Entry, Index, MAX_ENTRIES},
    },
};

use crate::{
    naive,
    vectors::{self, hex, read, rows, text, unhex},
};

fn index_json(index: &Index) -> Value {
    let entries: Vec<Value> = index
        .entries
        .iter()
        .map(|entry| {
            json!({
                "original_offset": entry.original_offset,
                "original_size": entry.original_size,
                "compressed_offset": entry.stored_offset,
                "compressed_size": entry.stored_size,
            })
        })
        .collect();
    let sse = index.encryption.map(|block| {
        json!({
            "enc_chunk_size": block.chunk_size,
            "enc_chunk_count": block.chunk_count,
            "enc_key_id": block.key_id,
            "enc_salt": {"hex": hex(&block.salt)},
            "enc_plaintext_len": block.plaintext_len,
            "enc_header_bytes": block.header_len,
        })
    });
    json!({
        "total_padded_size": index.total_stored,
        "total_original_size": index.total_original(),
        "source_etag": index.etag,
        "source_compressed_size": index.source_size,
        "entries": entries,
        "sse": sse,
    })
}

#[test]
fn recorded_sidecars_have_their_recorded_outcome() {
    let (mut good, mut bad) = (0, 0);
    for row in rows(&vectors::json("s4/parser_vectors.json"), "indexes") {
        let name = text(&row, "name");
        match Index::decode(&unhex(text(&row, "bytes_hex"))) {
            Ok(index) => {
                assert_eq!(index_json(&index), row["decode_index"]["ok"], "{name}");
                let bound = |size, etag| {
                    let mut index = index.clone();
                    index.bind(size, etag);
                    hex(&index.encode())
                };
                let recorded = &row["bind_index(size=77,etag=\"tag\")"]["ok"]["hex"];
                assert_eq!(bound(77, Some("tag")), recorded.as_str().unwrap(), "{name}");
                let recorded = &row["bind_index(size=0)"]["ok"]["hex"];
                assert_eq!(bound(0, None), recorded.as_str().unwrap(), "{name}");
                assert_eq!(bound(0, Some("")), recorded.as_str().unwrap(), "{name}");
                good += 1;
            }
            Err(error) => {
                let class = &row["decode_index"]["error"]["class"];
                assert_eq!(class, "S4IndexError", "{name}: {error}");
                bad += 1;
            }
        }
    }
    assert!(good > 4 && bad > 4, "{good} good, {bad} bad");
}

#[test]
fn a_captured_sidecar_is_written_again() {
    for name in ["s4/s4_multi.s4index", "s4/multipart_two.s4index"] {
        let bytes = read(name);
        assert_eq!(Index::decode(&bytes).unwrap().encode(), bytes, "{name}");
    }
}

fn numbers(numbers: &[u64]) -> Vec<u8> {
    numbers
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect()
}

/// A sidecar of any version with any count; `rest` is what follows the 32 bytes.
fn sidecar(version: u32, count: u64, rest: &[&[u8]]) -> Vec<u8> {
    let front = [
        &b"S4IX"[..],
        &version.to_le_bytes(),
        &numbers(&[count, 0, 0]),
    ]
    .concat();
    [front, rest.concat()].concat()
}

#[test]
fn the_checks_come_in_the_agreed_order() {
    let too_short = |part, need, have| IndexError::TooShort { part, need, have };
    let binding = |etag_len: u32| [numbers(&[5]), etag_len.to_le_bytes().to_vec()].concat();
    let above = MAX_ENTRIES + 1;
    let cases = [
        (b"nope".to_vec(), too_short("index header", 32, 4)),
        (
            sidecar(1, 0, &[])[..31].to_vec(),
            too_short("index header", 32, 31),
        ),
        (vec![b'x'; 32], IndexError::BadMagic(*b"xxxx")),
        // The count is looked at before the version, and both before anything behind them.
        (
            sidecar(7, above, &[]),
            IndexError::TooManyEntries {
                count: above,
                limit: MAX_ENTRIES,
            },
        ),
        (
            sidecar(1, u64::MAX, &[]),
            IndexError::TooManyEntries {
                count: u64::MAX,
                limit: MAX_ENTRIES,
            },
        ),
        (sidecar(0, 0, &[]), IndexError::UnknownVersion(0)),
        (sidecar(4, 1, &[]), IndexError::UnknownVersion(4)),
        (
            sidecar(2, 1, &[&[0; 11]]),
            too_short("index binding", 12, 11),
        ),
        (
            sidecar(3, 1, &[&binding(4097)]),
            IndexError::EtagTooLong(4097),
        ),
        (
            sidecar(2, 1, &[&binding(u32::MAX)]),
            IndexError::EtagTooLong(u64::from(u32::MAX)),
        ),
        (
            sidecar(2, 1, &[&binding(3), b"ab"]),
            too_short("index etag", 3, 2),
        ),
        (
            sidecar(3, 1, &[&binding(0), &[1; 29]]),
            too_short("index encryption block", 30, 29),
        ),
        (
            sidecar(1, 1, &[&[0; 31]]),
            IndexError::TableLength { need: 32, have: 31 },
        ),
        (
            sidecar(1, 1, &[&[0; 33]]),
            IndexError::TableLength { need: 32, have: 33 },
        ),
        (
            sidecar(2, 0, &[&binding(0), &[0; 32]]),
            IndexError::TableLength { need: 0, have: 32 },
        ),
        (
            sidecar(1, MAX_ENTRIES, &[]),
            IndexError::TableLength {
                need: 32 * MAX_ENTRIES,
                have: 0,
            },
        ),
        (
            sidecar(1, 1, &[&numbers(&[1, u64::MAX, 0, 0])]),
            IndexError::Overflow(0),
        ),
        (
            sidecar(1, 1, &[&numbers(&[0, 0, u64::MAX, 1])]),
            IndexError::Overflow(0),
        ),
        // An overflow anywhere wins over an overlap before it.
        (
            sidecar(
                1,
                3,
                &[&numbers(&[5, 5, 0, 5, 0, 5, 0, 5, u64::MAX, 1, 9, 9])],
            ),
            IndexError::Overflow(2),
        ),
        (
            sidecar(1, 2, &[&numbers(&[0, 5, 0, 5, 4, 1, 5, 1])]),
            IndexError::OutOfOrder(1),
        ),
        (
            sidecar(1, 2, &[&numbers(&[0, 5, 0, 5, 5, 1, 4, 1])]),
            IndexError::OutOfOrder(1),
        ),
    ];
    for (bytes, expected) in cases {
        assert_eq!(Index::decode(&bytes), Err(expected), "{}", hex(&bytes));
    }
}

#[test]
fn what_is_odd_but_allowed_is_read() {
    let end = u64::MAX;
    let odd = [
        (sidecar(1, 1, &[&numbers(&[1, end - 1, 2, end - 2])]), end),
        (sidecar(1, 2, &[&numbers(&[7, 3, 9, 1, 20, 0, 30, 28])]), 20),
        (sidecar(1, 2, &[&numbers(&[0, 0, 0, 28, 0, 0, 28, 28])]), 0),
    ];
    for (bytes, total) in odd {
        assert_eq!(Index::decode(&bytes).unwrap().total_original(), total);
    }
    // A stated total is not believed, no more than an ETag that is not UTF-8.
    let mut bytes = sidecar(2, 0, &[&[0; 8], &[2, 0, 0, 0], &[0xFF, 0xFE]]);
    bytes[16..24].fill(0xFF);
    let index = Index::decode(&bytes).unwrap();
    assert_eq!(
        (index.total_original(), index.etag, index.source_size),
        (0, None, None)
    );
    let block = [&[0; 12][..], &1024_u32.to_le_bytes(), &[0; 4], &[9; 22]].concat();
    assert_eq!(
        Index::decode(&sidecar(3, 0, &[&block])).unwrap().encryption,
        None
    );
}

#[test]
fn a_count_reserves_nothing() {
    // The table is there; it would be half a gigabyte as the count alone has it.
    let bytes = sidecar(1, MAX_ENTRIES, &[&[0; 32]]);
    assert!(Index::decode(&bytes).is_err());
    let many = sidecar(1, 5000, &[&numbers(&vec![0; 4 * 5000])]);
    assert_eq!(Index::decode(&many).unwrap().entries.len(), 5000);
}

#[test]
fn a_sidecar_cut_at_any_byte_is_refused() {
    let bytes = full().encode();
    assert_eq!(Index::decode(&bytes).unwrap(), full());
    for cut in 0..bytes.len() {
        assert!(Index::decode(&bytes[..cut]).is_err(), "cut to {cut}");
    }
}

/// An index in which everything is set.
fn full() -> Index {
    let entry = |number: u64| Entry {
        original_offset: 100 * number,
        original_size: 100,
        stored_offset: 70 * number,
        stored_size: 60,
    };
    Index {
        total_stored: 210,
        entries: (0..3).map(entry).collect(),
        etag: Some("2a13d8a717ef421c5210eb6f0fb6b088".into()),
        source_size: Some(300),
        encryption: Some(Encryption {
            chunk_size: 64,
            chunk_count: 4,
            key_id: 0x0102,
            salt: *b"saltsalt",
            plaintext_len: 210,
            header_len: 24,
        }),
    }
}

#[test]
fn the_layout_of_every_field_is_the_documented_one() {
    let bytes = full().encode();
    assert_eq!(bytes[..8], *b"S4IX\x03\0\0\0");
    assert_eq!(bytes[8..32], numbers(&[3, 300, 210]));
    assert_eq!(
        bytes[32..44],
        [&numbers(&[300])[..], &[32, 0, 0, 0]].concat()
    );
    assert_eq!(bytes[44..76], *b"2a13d8a717ef421c5210eb6f0fb6b088");
    assert_eq!(bytes[76..86], [64, 0, 0, 0, 4, 0, 0, 0, 2, 1]);
    assert_eq!(bytes[86..94], *b"saltsalt");
    assert_eq!(
        bytes[94..106],
        [&numbers(&[210])[..], &[24, 0, 0, 0]].concat()
    );
    assert_eq!(bytes[106..138], numbers(&[0, 100, 0, 60]));
    assert_eq!(bytes.len(), 106 + 3 * 32);
}

#[test]
fn trust_needs_a_binding_and_no_contradiction() {
    let bound = |size, etag| {
        let mut index = Index::default();
        index.bind(size, etag);
        index
    };
    let both = bound(9, Some("abc"));
    let cases = [
        (bound(0, None), None, None, false),
        (bound(0, None), Some(9), Some("abc"), false),
        (bound(0, Some("")), Some(9), None, false),
        (bound(9, None), Some(9), None, true),
        (bound(9, None), Some(8), None, false),
        (bound(9, None), None, Some("abc"), true),
        (bound(0, Some("abc")), Some(9), Some("abc"), true),
        (bound(0, Some("abc")), Some(9), Some("abd"), false),
        (bound(0, Some("abc")), Some(9), None, true),
        (both.clone(), Some(9), Some("abc"), true),
        (both.clone(), Some(8), Some("abc"), false),
        (both.clone(), Some(9), Some("ABC"), false),
        (both.clone(), Some(9), Some("\"abc\""), true),
        (both.clone(), Some(9), Some("W/\"abc\""), true),
        (both, Some(9), Some(""), true),
        (bound(0, Some("\"abc\"")), None, Some("abc"), true),
        (bound(0, Some("W/\"abc\"")), None, Some("\"abc\""), true),
    ];
    for (index, size, etag, trusted) in cases {
        assert_eq!(
            index.is_trusted(size, etag),
            trusted,
            "{index:?} {size:?} {etag:?}"
        );
    }
}

#[test]
fn frames_whose_originals_do_not_add_up_have_no_index() {
    let frame = |original_size| {
        let header = FrameHeader {
            codec: CodecKind::Passthrough,
            original_size,
            payload_size: 0,
            crc32c: 0,
        };
        header.to_bytes()
    };
    let fits = [frame(u64::MAX), frame(0)].concat();
    assert_eq!(Index::build(&fits).unwrap().total_original(), u64::MAX);
    let overflow = [frame(u64::MAX), frame(1)].concat();
    assert_eq!(
        Index::build(&overflow),
        Err(Error::Index(IndexError::Overflow(1)))
    );
    let cut = Index::build(&fits[..55]);
    assert_eq!(
        cut,
        Err(Error::Frame(FrameError::TooShort { need: 28, have: 27 }))
    );
    assert_eq!(Index::build(b"").unwrap(), Index::default());
}

/// Entries that follow one another, with gaps and empty ones among them.
fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let row = (0..3_u64, 0..2000_u64, 0..3_u64, 0..2000_u64);
    prop::collection::vec(row, 0..12).prop_map(|rows| {
        let (mut original, mut stored) = (0, 0);
        rows.into_iter()
            .map(|(gap, original_size, padding, stored_size)| {
                let entry = Entry {
                    original_offset: original + 10 * gap,
                    original_size,
                    stored_offset: stored + 10 * padding,
                    stored_size,
                };
                (original, stored) = (entry.original_end(), entry.stored_end());
                entry
            })
            .collect()
    })
}

fn indexes() -> impl Strategy<Value = Index> {
    let block = (
        1..=u32::MAX,
        1..=u32::MAX,
        any::<u16>(),
        any::<[u8; 8]>(),
        any::<u64>(),
        any::<u32>(),
    )
        .prop_map(
            |(chunk_size, chunk_count, key_id, salt, plaintext_len, header_len)| Encryption {
                chunk_size,
                chunk_count,
                key_id,
                salt,
                plaintext_len,
                header_len,
            },
        );
    let etag = prop::option::of("[ -~é]{1,40}");
    (
        any::<u64>(),
        entries(),
        etag,
        prop::option::of(1..=u64::MAX),
        prop::option::of(block),
    )
        .prop_map(
            |(total_stored, entries, etag, source_size, encryption)| Index {
                total_stored,
                entries,
                etag,
                source_size,
                encryption,
            },
        )
}

proptest! {
    #[test]
    fn any_index_comes_back(index in indexes()) {
        prop_assert_eq!(Index::decode(&index.encode()), Ok(index));
    }

    #[test]
    fn a_changed_sidecar_never_panics_and_what_is_read_is_in_order(
        index in indexes(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = index.encode();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Ok(index) = Index::decode(&bytes) {
            for pair in index.entries.windows(2) {
                prop_assert!(pair[0].original_end() <= pair[1].original_offset);
                prop_assert!(pair[0].stored_end() <= pair[1].stored_offset);
            }
            prop_assert_eq!(Index::decode(&index.encode()), Ok(index));
        }
    }

    #[test]
    fn the_index_of_a_body_is_what_a_walk_by_hand_finds(
        pieces in prop::collection::vec((0..9_u32, 0..99_u64, prop::option::of(0..20_usize), 0..50_usize), 0..8),
    ) {
        let mut body = Vec::new();
        for (codec, original_size, padding, len) in pieces {
            let codec = CodecKind::from_id(codec).unwrap();
            let header = FrameHeader { codec, original_size, payload_size: len as u64, crc32c: 0 };
            body.extend(header.to_bytes());
            body.extend(vec![b'S'; len]);
            if let Some(padding) = padding {
                body.extend([b"S4P1", &(padding as u64).to_le_bytes()[..], &vec![0; padding]].concat());
            }
        }
        let index = Index::build(&body).unwrap();
        let mut end = 0;
        let by_hand: Vec<Entry> = naive::walk(&body).unwrap().into_iter().map(|frame| {
            end += frame.original;
            Entry {
                original_offset: end - frame.original,
                original_size: frame.original,
                stored_offset: frame.offset,
                stored_size: 28 + frame.payload.len() as u64,
            }
        }).collect();
        prop_assert_eq!(&index.entries, &by_hand);
        prop_assert_eq!(index.total_stored, body.len() as u64);
        prop_assert!(!index.is_trusted(Some(body.len() as u64), None), "it is unbound");
    }
}
