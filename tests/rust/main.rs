//! All tests of the core as one binary: it links once, and nothing is tested twice.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed"
)]

// What the tests stand on: slow and obviously right rules, recorded vectors, made inputs.
mod naive;
mod vectors;

// The files of `src/`, one module a concept.
mod checksum; // CRC32C: one-shot, continued, combined, in parallel
mod codec; // payloads of the codecs, their claims and buffers
mod dict; // dictionaries: ids, training, damage
mod fcg1; // the container of GPU payloads
mod frame; // frames and padding: walking, decoding
mod gdeflate; // GDeflate streams
mod index; // sidecars
mod layout; // how an object is to be read, by its metadata
mod object; // whole objects: body, metadata, sidecar
mod plain; // plain streams of frames and members
mod pool; // threads and forks
mod range; // from a range of the original to one of the body
mod record; // many records in one call
mod sample; // is it worth compressing?
mod stream; // payloads piece by piece
mod write; // frames and padding written

// Across all files.
mod corrupt; // the corpus of hostile input
mod layers; // import rules, file sizes, banned calls
