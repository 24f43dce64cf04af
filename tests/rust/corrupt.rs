//! The corpus of hostile input, shared with the Python tests: every case is refused, with the error
//! that is due, and quickly.

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::Value;
use shardpack::{
    Error, Result,
    codec::{Claim, Codec, CpuGzip, CpuZstd, MAX_ORIGINAL_SIZE, plain},
    frame::{
        index::Index,
        object::{Metadata, Opened},
        read::{decode_frames, output_len, read_frame, read_frames},
    },
    pool::{self, Cancel},
};

use crate::vectors::{class_of, decoding, decompress, json, number, read, root, text};

fn codec(arguments: &Value) -> Box<dyn Codec> {
    match text(arguments, "codec") {
        "cpu-zstd" => Box::new(CpuZstd::new(3, false)),
        "cpu-gzip" => Box::new(CpuGzip::new(6)),
        other => panic!("no codec {other}"),
    }
}

fn decompress_all(codec: &dyn Codec, bytes: &[u8]) -> Result<()> {
    let (pieces, stated) = plain::open(codec, bytes, MAX_ORIGINAL_SIZE)?;
    if let Some(len) = stated {
        let mut decoded = vec![0; len];
        if plain::decode_pieces(codec, &pieces, &mut decoded, &Cancel::new())? {
            return Ok(());
        }
    }
    codec.decompress_all(bytes, &mut Vec::new(), MAX_ORIGINAL_SIZE, &Cancel::new())
}

fn decode_body(bytes: &[u8]) -> Result<()> {
    let frames = read_frames(bytes)?;
    let mut decoded = vec![0; output_len(&frames, decoding())?];
    decode_frames(&frames, &mut decoded, decoding())
}

fn decode_object(bytes: &[u8], metadata: &Value) -> Result<()> {
    let pairs = metadata.as_object().expect("metadata").iter();
    let metadata =
        Metadata::new(pairs.map(|(key, value)| (key.as_str(), value.as_str().expect("text"))));
    let opened = Opened::new(&metadata, bytes, None)?;
    let mut decoded = vec![0; opened.output_len(decoding())?];
    opened.decode_into(&metadata, &mut decoded, decoding())
}

fn run(case: &Value, bytes: &[u8]) -> Result<()> {
    let arguments = &case["arguments"];
    match text(case, "function") {
        "read_frame" => read_frame(bytes).map(drop).map_err(Error::from),
        "frame_iter" => read_frames(bytes).map(drop).map_err(Error::from),
        "decode_frames" => decode_body(bytes),
        "decode_index" => Index::decode(bytes).map(drop).map_err(Error::from),
        "decode_object" => match &arguments["metadata"] {
            Value::Null => decode_object(bytes, &Value::Object(serde_json::Map::new())),
            metadata => decode_object(bytes, metadata),
        },
        "decompress" => {
            let claim = Claim {
                original_size: number(arguments, "original_size"),
                crc32c: number(arguments, "crc32c") as u32,
            };
            decompress(&*codec(arguments), bytes, claim).map(drop)
        }
        "decompress_all" => decompress_all(&*codec(arguments), bytes),
        other => panic!("no function {other}"),
    }
}

#[test]
fn every_case_is_refused_with_the_error_that_is_due() {
    let cases = json("corrupt/manifest.json");
    let cases = cases.as_array().expect("cases");
    assert!(cases.len() > 100);
    for case in cases {
        let (file, expected) = (text(case, "file"), text(case, "expected"));
        let bytes = read(&format!("corrupt/{file}"));
        let start = Instant::now();
        let alone = run(case, &bytes).expect_err(file);
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{file}: {:?}",
            start.elapsed()
        );
        // The root class stands for cases in which several errors are right.
        assert!(
            expected == "ShardpackError" || class_of(&alone) == expected,
            "{file}: {alone:?}"
        );
        let message = alone.to_string();
        assert!(
            !message.is_empty() && message.len() < 500 && !message.contains('\n'),
            "{message}"
        );
        let together = pool::install(Some(3), || run(case, &bytes)).unwrap();
        assert_eq!(together, Err(alone), "{file} on 3 threads");
    }
}

#[test]
fn no_file_of_the_corpus_is_left_out() {
    let cases = json("corrupt/manifest.json");
    let mut named: Vec<&str> = cases
        .as_array()
        .unwrap()
        .iter()
        .map(|case| text(case, "file"))
        .collect();
    let folder = fs::read_dir(root().join("tests/vectors/corrupt")).unwrap();
    let mut found: Vec<String> = folder
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "manifest.json")
        .collect();
    named.sort_unstable();
    found.sort_unstable();
    assert_eq!(named, found);
}
