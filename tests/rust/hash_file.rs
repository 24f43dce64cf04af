//! Digests of files, and the algorithms by their names.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::PathBuf,
};

use shardpack::{
    Error,
    hash::{
        Algorithm,
        blake3::{self, Blake3, Mode},
        digest,
        file::{FileDigest, FileError},
        named::{self, Named, NamedHasher},
    },
    pool::{self, Cancel},
};

use crate::vectors::make;

const MIB: usize = 1 << 20;
const PIECE: usize = 256 << 10;

/// A file that goes when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, data: &[u8]) -> Self {
        let name = format!("shardpack-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        File::create(&path).unwrap().write_all(data).unwrap();
        Self(path)
    }

    fn open(&self) -> File {
        File::open(&self.0).unwrap()
    }

    fn set_len(&self, len: usize) {
        let file = OpenOptions::new().write(true).open(&self.0).unwrap();
        file.set_len(len as u64).unwrap();
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

fn one_shot(algorithm: Named, data: &[u8]) -> Vec<u8> {
    let mut hasher = NamedHasher::new(algorithm);
    hasher.update(data);
    hasher.digest()
}

fn of_file(algorithm: Named, file: File, len: usize) -> Result<Vec<u8>, FileError> {
    let mut digest = FileDigest::new(algorithm, file, len as u64);
    while !digest.is_complete() {
        digest.advance(&Cancel::new())?;
    }
    Ok(digest.digest())
}

#[test]
fn a_file_has_the_digest_of_its_bytes_whatever_its_length_and_the_threads() {
    let data = make("noise", "file", 20 * PIECE + 9);
    let mut lens = vec![0, 1, 1023, 1024, 1025, data.len()];
    lens.extend((1..20).flat_map(|count| [count * PIECE - 1, count * PIECE, count * PIECE + 1]));
    let scratch = Scratch::new("lengths", &data);
    for len in lens {
        for algorithm in [Named::Hash(Algorithm::Blake3), Named::Crc32c] {
            let due = one_shot(algorithm, &data[..len]);
            assert_eq!(of_file(algorithm, scratch.open(), len).unwrap(), due);
            for threads in [2, 3] {
                let work = || of_file(algorithm, scratch.open(), len);
                let found = pool::install(Some(threads), work).unwrap().unwrap();
                assert_eq!(found, due, "{len} bytes, {threads} threads");
            }
        }
    }
    for algorithm in Named::ALL {
        let found = of_file(algorithm, scratch.open(), data.len()).unwrap();
        assert_eq!(found, one_shot(algorithm, &data), "{algorithm:?}");
    }
}

#[test]
fn a_file_that_has_become_shorter_is_noticed() {
    let data = make("noise", "short", 3 * PIECE);
    let scratch = Scratch::new("shorter", &data);
    for len in [0, 10, 2 * PIECE, 3 * PIECE - 1] {
        scratch.set_len(len);
        for algorithm in Named::ALL {
            let found = of_file(algorithm, scratch.open(), data.len());
            assert!(matches!(found, Err(FileError::Shrunk)), "{algorithm:?}");
        }
    }
}

#[test]
fn what_cannot_be_read_is_an_error_of_the_system() {
    let folder = File::open(std::env::temp_dir()).unwrap();
    let found = of_file(Named::Crc32c, folder, 10);
    assert!(matches!(found, Err(FileError::Io(_))), "{found:?}");
}

#[test]
fn a_file_stops_when_told_to() {
    let scratch = Scratch::new("stop", &make("noise", "stop", 3 * PIECE));
    let cancel = Cancel::new();
    cancel.cancel();
    for algorithm in Named::ALL {
        let mut digest = FileDigest::new(algorithm, scratch.open(), 3 * PIECE as u64);
        let found = digest.advance(&cancel);
        assert!(matches!(found, Err(FileError::Stopped(Error::Interrupted))));
    }
}

#[test]
fn names_lead_to_algorithms_and_back() {
    for algorithm in Named::ALL {
        assert_eq!(Named::of_name(algorithm.name()), Ok(algorithm));
        assert_eq!(one_shot(algorithm, b"").len(), algorithm.digest_len());
    }
    let text = Named::of_name("md5").unwrap_err().to_string();
    assert_eq!(
        text,
        "unknown algorithm \"md5\"; there are blake3, sha256, keccak256, sha3_256, crc32c"
    );
}

#[test]
fn many_messages_have_the_digests_of_each() {
    let data = make("noise", "many", 9 * MIB);
    let mut messages: Vec<&[u8]> = (0..300).map(|at| &data[at..at + at * 31 % 5000]).collect();
    messages.extend([&data[..], &data[..4 * MIB], &data[..=4 * MIB], b""]);
    for algorithm in Named::ALL {
        let due: Vec<u8> = messages
            .iter()
            .flat_map(|message| one_shot(algorithm, message))
            .collect();
        for threads in 1..4 {
            let mut packed = vec![0; due.len()];
            let work = || algorithm.digest_many(&messages, &mut packed, &Cancel::new());
            pool::install(Some(threads), work).unwrap().unwrap();
            assert_eq!(packed, due, "{algorithm:?}");
        }
        let mut wrong = vec![0; due.len() + 1];
        let found = algorithm.digest_many(&messages, &mut wrong, &Cancel::new());
        assert!(matches!(found, Err(Error::InvalidInput(_))));
    }
}

#[test]
fn long_work_stops_when_told_to() {
    let data = make("noise", "stop", 9 * MIB);
    let cancel = Cancel::new();
    cancel.cancel();
    for algorithm in Named::ALL {
        let mut packed = vec![0; 2 * algorithm.digest_len()];
        let found = algorithm.digest_many(&[&data, b"short"], &mut packed, &cancel);
        assert_eq!(found, Err(Error::Interrupted));
        let found = NamedHasher::new(algorithm).update_long(&data, &cancel);
        assert_eq!(found, Err(Error::Interrupted));
    }
    let mut output = vec![0; MIB];
    let hasher = Blake3::new(&Mode::Plain);
    let found = named::read(&hasher, &mut output, 0, &cancel);
    assert_eq!(found, Err(Error::Interrupted));
}

#[test]
fn pieces_of_any_length_make_the_same_message() {
    let data = make("noise", "pieces", 13 * MIB + 5);
    for algorithm in Named::ALL {
        for threads in [1, 3] {
            let mut hasher = NamedHasher::new(algorithm);
            let work = || hasher.update_long(&data, &Cancel::new());
            pool::install(Some(threads), work).unwrap().unwrap();
            assert_eq!(hasher.digest(), one_shot(algorithm, &data));
        }
    }
    assert_eq!(
        one_shot(Named::Hash(Algorithm::Blake3), &data),
        digest(Algorithm::Blake3, &data)
    );
}

#[test]
fn output_of_any_length_is_cut_out_of_the_same_stream() {
    let mut hasher = Blake3::new(&Mode::DeriveKey("a context".into()));
    hasher.update(b"material");
    let mut whole = vec![0; MIB + 100];
    hasher.read(&mut whole, 0);
    for (seek, len) in [(0, MIB + 100), (1, 70), (63, 600_000), (64, MIB), (MIB, 0)] {
        for threads in [1, 3] {
            let mut output = vec![0; len];
            let work = || named::read(&hasher, &mut output, seek as u64, &Cancel::new());
            pool::install(Some(threads), work).unwrap().unwrap();
            assert!(output == whole[seek..seek + len], "{len} from {seek}");
        }
    }
    let found = named::read(&hasher, &mut [0; 2], u64::MAX - 1, &Cancel::new());
    assert!(matches!(found, Err(Error::InvalidInput(_))));
    assert_ne!(whole[..32], blake3::digest(b"material"));
}
