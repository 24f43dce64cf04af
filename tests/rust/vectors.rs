//! Reading `tests/vectors`, and the inputs that its files name by rule instead of carrying them.

use std::{fmt::Write as _, fs, path::PathBuf};

use proptest::prelude::*;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use shardpack::{
    Error, Result,
    codec::{self, Claim, Codec, CodecKind, CpuGzip, CpuZstd, MAX_ORIGINAL_SIZE, Passthrough},
    frame::read::Decoding,
    pool::Cancel,
};

/// The folder of this package.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A file below `tests/vectors`.
pub fn read(name: &str) -> Vec<u8> {
    let path = root().join("tests/vectors").join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn json(name: &str) -> Value {
    serde_json::from_slice(&read(name)).expect("JSON")
}

/// The rows of a list in a JSON file; never none, so that a loop over them tests something.
pub fn rows(file: &Value, key: &str) -> Vec<Value> {
    let rows = file[key].as_array().expect(key).clone();
    assert!(!rows.is_empty(), "{key} is empty");
    rows
}

pub fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().expect(key)
}

pub fn number(row: &Value, key: &str) -> u64 {
    row[key].as_u64().expect(key)
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("text");
        text
    })
}

pub fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits"))
        .collect()
}

pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The input that `{gen, seed, size, sha256}` describes.
pub fn input(rule: &Value) -> Vec<u8> {
    let (kind, seed) = (text(rule, "gen"), text(rule, "seed"));
    let bytes = make(kind, seed, number(rule, "size") as usize);
    assert_eq!(sha256(&bytes), text(rule, "sha256"), "generator {kind}");
    bytes
}

/// The generators of `tests/vectors/s4/README.md`.
pub fn make(kind: &str, seed: &str, size: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size + 128);
    for i in 0_u64.. {
        if bytes.len() >= size {
            break;
        }
        match kind {
            "zeros" => bytes.push(0),
            "noise" => bytes.extend(Sha256::digest(format!("{seed}:{i}"))),
            "lines" => {
                let order = i * 2_654_435_761 % 100_000;
                bytes.extend(format!("{i:08} {seed} order={order} level=info\n").bytes());
            }
            "events" => {
                let (time, id) = (1_780_000_000 + i, i * 31);
                bytes.extend(
                    format!(
                        "{{\"ts\":{time},\"svc\":\"{seed}\",\"ev\":\"order_created\",\"id\":\"ord_{id:08}\"}}\n"
                    )
                    .bytes(),
                );
            }
            "cycle" => bytes.push((i * 31 + (i >> 13)) as u8),
            "u32col" => bytes.extend((3 * i as u32).to_le_bytes()),
            "u64col" => bytes.extend((1_700_000_000_000_000_000 + i * 137).to_le_bytes()),
            other => panic!("no generator {other}"),
        }
    }
    bytes.truncate(size);
    bytes
}

/// The name of the Python class for an error: the family that recorded outcomes speak of.
pub fn class_of(error: &Error) -> &'static str {
    match error {
        Error::Decode { .. } | Error::Bomb { .. } => "S4IoError",
        Error::SizeMismatch { .. } => "S4SizeMismatchError",
        Error::CrcMismatch { .. } => "S4CrcMismatchError",
        Error::ClaimExceedsLimit { .. } => "S4ManifestSizeExceedsLimitError",
        Error::ManifestSizeMismatch { .. } => "S4ManifestSizeMismatchError",
        Error::Frame(_) => "S4FrameError",
        Error::Index(_) => "S4IndexError",
        Error::Backend(_) | Error::Fcg1(_) => "S4BackendError",
        Error::UnsupportedCodec { .. } | Error::UnwritableCodec { .. } => "UnsupportedCodecError",
        Error::Encrypted { .. } => "EncryptedObjectError",
        Error::Dictionary { .. } => "DictionaryError",
        Error::Metadata { .. } | Error::DestinationTooSmall { .. } | Error::Argument(_) => {
            "S4Error"
        }
        other => panic!("{other:?} has no class"),
    }
}

pub const DICTIONARY: &str = "s4/dict_raw_open.bin";

/// The codec that a row of a vector file names, at its level if it has one.
pub fn codec_of(row: &Value) -> Box<dyn Codec> {
    let level = row["level"].as_u64();
    let zstd_level = level.map_or(3, |level| i32::try_from(level).expect("level"));
    match text(row, "codec") {
        "cpu-zstd" => Box::new(CpuZstd::new(zstd_level, false)),
        "cpu-gzip" => Box::new(CpuGzip::new(level.unwrap_or(6) as u32)),
        "cpu-zstd-dict" => {
            let dictionary = read(&format!("s4/{}", text(row, "dict")));
            Box::new(
                CpuZstd::new_with_dictionary(&dictionary, zstd_level, false).expect("dictionary"),
            )
        }
        "passthrough" => Box::new(Passthrough),
        other => panic!("no codec {other}"),
    }
}

/// One of each codec and setting, fast enough for many rounds.
pub fn codecs() -> Vec<Box<dyn Codec>> {
    let dictionary = read(DICTIONARY);
    let with = |level, content_size| {
        CpuZstd::new_with_dictionary(&dictionary, level, content_size).expect("dictionary")
    };
    let mut codecs: Vec<Box<dyn Codec>> = vec![
        Box::new(Passthrough),
        Box::new(with(3, false)),
        Box::new(with(9, true)),
        Box::new(with(3, false).with_checksum(true)),
        Box::new(CpuZstd::new(3, true).with_checksum(true)),
    ];
    for level in [1, 3, 5] {
        codecs.push(Box::new(CpuZstd::new(level, false)));
        codecs.push(Box::new(CpuZstd::new(level, true)));
    }
    for level in 0..=9 {
        codecs.push(Box::new(CpuGzip::new(level)));
    }
    codecs
}

/// One of each codec that packs, for tests that try every byte or bit.
pub fn one_of_each() -> Vec<Box<dyn Codec>> {
    let dictionary = CpuZstd::new_with_dictionary(&read(DICTIONARY), 3, false);
    vec![
        Box::new(CpuZstd::new(3, false)),
        Box::new(CpuZstd::new(3, true)),
        Box::new(dictionary.expect("dictionary")),
        Box::new(CpuGzip::new(6)),
    ]
}

/// As [`codecs`], without the one that cannot notice damage.
pub fn packing_codecs() -> Vec<Box<dyn Codec>> {
    let mut codecs = codecs();
    codecs.retain(|codec| codec.kind() != CodecKind::Passthrough);
    codecs
}

pub fn compress(codec: &dyn Codec, data: &[u8]) -> Vec<u8> {
    codec::compress_with(codec, data, &Cancel::new(), <[u8]>::to_vec).expect("payload")
}

pub fn claim_of(data: &[u8]) -> Claim {
    Claim {
        original_size: data.len() as u64,
        crc32c: shardpack::checksum::crc32c(data, 0),
    }
}

/// Decodes a payload as callers do: ask for the length, reserve it, decode, check.
pub fn decompress(codec: &dyn Codec, payload: &[u8], claim: Claim) -> Result<Vec<u8>> {
    let mut decoded = vec![0xAA; codec::output_len(codec, payload, claim, MAX_ORIGINAL_SIZE)?];
    codec::decompress_claimed(codec, payload, claim, &mut decoded, &Cancel::new())?;
    Ok(decoded)
}

static NEVER: Cancel = Cancel::new();

/// Decoding without a dictionary, with the limit that callers get by default.
pub fn decoding() -> Decoding<'static> {
    Decoding {
        dictionary: None,
        dict_id: None,
        limit: MAX_ORIGINAL_SIZE,
        cancel: &NEVER,
    }
}

/// Bytes of all kinds: noise, runs, repeats, text.
pub fn data(max_len: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..max_len.min(300)),
        (any::<u8>(), 0..max_len).prop_map(|(byte, len)| vec![byte; len]),
        (proptest::collection::vec(any::<u8>(), 1..40), 0..max_len).prop_map(|(unit, len)| unit
            .into_iter()
            .cycle()
            .take(len)
            .collect()),
        ("[a-z]{1,3}", 0..max_len).prop_map(|(seed, len)| make("lines", &seed, len)),
        ("[a-z]{1,3}", 0..max_len).prop_map(|(seed, len)| make("noise", &seed, len)),
    ]
}

/// Cuts `bytes` at places chosen by `cuts`, each a share of 65,536.
pub fn cut<'a>(bytes: &'a [u8], cuts: &[u16]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts
        .iter()
        .map(|&share| bytes.len() * usize::from(share) / 65_536)
        .collect();
    places.sort_unstable();
    let mut slices = Vec::new();
    let mut rest = bytes;
    let mut taken = 0;
    for place in places {
        let (slice, after) = rest.split_at(place - taken);
        slices.push(slice);
        (rest, taken) = (after, place);
    }
    slices.push(rest);
    slices
}
