//! Many records in one call: the results of single calls, in order, on any number of threads.

use proptest::prelude::*;
use shardpack::{
    Error,
    codec::{
        CodecKind, CpuGzip, CpuZstd, MAX_ORIGINAL_SIZE,
        record::{Run, compress_many, decompress_many},
    },
    pool::{self, Cancel},
};

use crate::vectors::{codecs, compress, data, make};

/// The results one by one.
fn results(runs: &[Run]) -> Vec<Option<Vec<u8>>> {
    let mut results = Vec::new();
    for run in runs {
        let mut rest = run.bytes.as_slice();
        for len in &run.lens {
            results.push(len.map(|len| {
                let (result, after) = rest.split_at(len);
                rest = after;
                result.to_vec()
            }));
        }
        assert!(rest.is_empty(), "bytes that belong to no record");
    }
    results
}

fn borrowed(records: &[Option<Vec<u8>>]) -> Vec<Option<&[u8]>> {
    records.iter().map(Option::as_deref).collect()
}

#[test]
fn results_stand_in_order_with_nulls_where_they_were_on_any_number_of_threads() {
    // Enough for several tasks: by bytes, and by number of short records.
    let mut records: Vec<Option<Vec<u8>>> = (0..1200_usize)
        .map(|number| (number % 7 != 3).then(|| make("events", &number.to_string(), number % 200)))
        .collect();
    records.insert(300, Some(make("noise", "a", 300_000)));
    records.insert(900, Some(make("noise", "b", 300_000)));
    records.push(Some(Vec::new()));
    let cancel = Cancel::new();
    for codec in [CpuZstd::new(3, true), CpuZstd::new(3, false)] {
        let expected: Vec<_> = records
            .iter()
            .map(|record| record.as_ref().map(|record| compress(&codec, record)))
            .collect();
        let mut shapes = Vec::new();
        for threads in 0..=4 {
            let work = || compress_many(&codec, &borrowed(&records), &cancel).unwrap();
            let runs = match threads {
                0 => work(),
                _ => pool::install(Some(threads), work).unwrap(),
            };
            assert!(runs.len() > 2);
            shapes.push(runs.iter().map(|run| run.lens.len()).collect::<Vec<_>>());
            assert!(results(&runs) == expected, "{threads} threads");
            let work = || {
                decompress_many(&codec, &borrowed(&expected), MAX_ORIGINAL_SIZE, &cancel).unwrap()
            };
            let runs = pool::install(Some(threads.max(1)), work).unwrap();
            assert!(results(&runs) == records, "{threads} threads");
        }
        assert!(shapes.iter().all(|shape| *shape == shapes[0]));
    }
}

#[test]
fn no_records_have_no_results() {
    let cancel = Cancel::new();
    for codec in codecs() {
        assert!(compress_many(&*codec, &[], &cancel).unwrap().is_empty());
        assert!(
            decompress_many(&*codec, &[], 0, &cancel)
                .unwrap()
                .is_empty()
        );
        let nulls = compress_many(&*codec, &[None, None], &cancel).unwrap();
        assert_eq!(results(&nulls), [None, None]);
    }
}

#[test]
fn the_first_damaged_record_is_reported_on_any_number_of_threads() {
    let zstd = CpuZstd::new(3, true);
    let mut records: Vec<_> = (0..4000)
        .map(|_| Some(compress(&zstd, &make("lines", "a", 100))))
        .collect();
    for at in [3999, 2500, 1100, 1101] {
        records[at] = Some(b"junk".to_vec());
    }
    for threads in 1..=4 {
        let work = || decompress_many(&zstd, &borrowed(&records), 100, &Cancel::new());
        let (index, error) = pool::install(Some(threads), work).unwrap().unwrap_err();
        assert_eq!(index, 1100);
        assert!(matches!(error, Error::Decode { .. }), "{error}");
    }
}

#[test]
fn the_limit_is_that_of_one_record() {
    let record = make("lines", "a", 1000);
    for codec in codecs() {
        let payload = compress(&*codec, &record);
        let records = vec![Some(payload.as_slice()); 5];
        let decoded = decompress_many(&*codec, &records, 1000, &Cancel::new()).unwrap();
        assert_eq!(results(&decoded), vec![Some(record.clone()); 5]);
        let (index, error) = decompress_many(&*codec, &records, 999, &Cancel::new()).unwrap_err();
        let expected = match codec.kind() {
            CodecKind::Passthrough => Error::ClaimExceedsLimit {
                requested: 1000,
                limit: 999,
            },
            kind => Error::Bomb {
                codec: kind.name(),
                claimed: 999,
            },
        };
        assert_eq!((index, error), (0, expected), "{codec:?}");
        let mixed = [Some(&[][..]), None, Some(payload.as_slice())];
        if codec.kind() == CodecKind::Passthrough {
            let (index, error) = decompress_many(&*codec, &mixed, 999, &Cancel::new()).unwrap_err();
            assert_eq!(
                (index, error),
                (
                    2,
                    Error::ClaimExceedsLimit {
                        requested: 1000,
                        limit: 999
                    }
                )
            );
        }
    }
}

#[test]
fn passthrough_states_the_length_of_the_record_that_is_too_long_not_of_those_before_it() {
    let records = [Some(&[1; 900][..]), Some(&[2; 1000][..])];
    let passthrough = shardpack::codec::Passthrough;
    let (index, error) = decompress_many(&passthrough, &records, 999, &Cancel::new()).unwrap_err();
    assert_eq!(
        (index, error),
        (
            1,
            Error::ClaimExceedsLimit {
                requested: 1000,
                limit: 999
            }
        )
    );
}

#[test]
fn a_cancelled_call_does_not_start() {
    let cancel = Cancel::new();
    cancel.cancel();
    let gzip = CpuGzip::new(1);
    let payload = compress(&gzip, b"data");
    let refused = compress_many(&gzip, &[None, Some(b"data")], &cancel).unwrap_err();
    assert_eq!(refused, (1, Error::Interrupted));
    let refused = decompress_many(&gzip, &[None, Some(&payload)], 100, &cancel).unwrap_err();
    assert_eq!(refused, (1, Error::Interrupted));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_records_come_back(records in prop::collection::vec(prop::option::of(data(2000)), 0..20)) {
        let cancel = Cancel::new();
        for codec in codecs() {
            let payloads = results(&compress_many(&*codec, &borrowed(&records), &cancel).unwrap());
            let singles: Vec<_> =
                records.iter().map(|record| record.as_ref().map(|record| compress(&*codec, record))).collect();
            prop_assert_eq!(&payloads, &singles);
            let decoded = decompress_many(&*codec, &borrowed(&payloads), 2000, &cancel).unwrap();
            prop_assert_eq!(results(&decoded), &records[..]);
        }
    }
}
