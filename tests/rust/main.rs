//! All tests of the core as one binary: it links once, and nothing is tested twice.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed"
)]

// What the tests stand on: slow and obviously right rules, recorded vectors, made inputs.
mod naive;
mod nmt_naive;
mod vectors;

// The files of `src/`, one module a concept.
mod blake3; // BLAKE3: modes, output of any length, every kernel for batches
mod checksum; // CRC32C: one-shot, continued, combined, in parallel
mod codec; // payloads of the codecs, their claims and buffers
mod dict; // dictionaries: ids, training, damage
mod fcg1; // the container of GPU payloads
mod frame; // frames and padding: walking, decoding
mod gdeflate; // GDeflate streams
mod gzip_points; // checkpoints in gzip files
mod hash; // all hashes by one name: pieces, batches, threads
mod hash_file; // digests of files, algorithms by name
mod index; // sidecars
mod keccak; // Keccak-256 and SHA3-256: every kernel
mod layout; // how an object is to be read, by its metadata
mod md5; // MD5: every kernel, batches
mod nmt; // namespaced Merkle trees: roots, trees, the proofs that they give
mod nmt_celestia; // their proofs in protobuf and JSON
mod nmt_proof; // what verifies, and that nothing else does
mod object; // whole objects: body, metadata, sidecar
mod plain; // plain streams of frames and members
mod pool; // threads and forks
mod range; // from a range of the original to one of the body
mod record; // many records in one call
mod rs; // Reed-Solomon: codewords, losses, changes, mistakes
mod rs_fft; // the transform: every kernel, all counts, lengths and places
mod rs_kernel; // its products, kernel by kernel
mod rs_layout; // buffers as shards, parity of streams
mod rs_locate; // which shards are wrong
mod sample; // is it worth compressing?
mod sha256; // SHA-256: every kernel, streams, batches
mod stream; // payloads piece by piece
mod write; // frames and padding written

// Across all files.
mod corrupt; // the corpus of hostile input
mod layers; // import rules, file sizes, banned calls
