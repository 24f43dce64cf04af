//! The codecs and the checksum of the core, without Python: what a call costs before any binding.
//!
//! `cargo bench` runs it. The comparison with other packages is in `benches/python/`.

use std::{fmt::Write as _, hint::black_box};

use criterion::{BenchmarkId, Criterion, Throughput};
use shardpack::{
    checksum,
    codec::{Codec, CpuGzip, CpuZstd, Passthrough},
    error::Result,
    pool::Cancel,
};

/// A small record, a page, a chunk of an S4 object.
const SIZES: [usize; 3] = [1 << 10, 64 << 10, 4 << 20];

/// Lines of a log with numbers from a fixed sequence, so that each run sees the same bytes.
fn log(len: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut text = String::with_capacity(len + 128);
    while text.len() < len {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let (client, page, size) = (
            (state >> 56) % 50,
            (state >> 48) % 97,
            (state >> 33) % 90_000,
        );
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            text,
            "10.0.3.{client} \"GET /items/{page} HTTP/1.1\" 200 {size} \"Mozilla/5.0\""
        );
    }
    text.truncate(len);
    text.into_bytes()
}

fn bench_codec(criterion: &mut Criterion, name: &str, codec: &dyn Codec) -> Result<()> {
    let cancel = Cancel::default();
    let mut group = criterion.benchmark_group(name);
    for size in SIZES {
        let data = log(size);
        let mut payload = vec![0; codec.compress_bound(size)];
        let len = codec.compress_into(&data, &mut payload, &cancel)?;
        let stored = payload[..len].to_vec();
        let mut decoded = vec![0; size];
        codec.decompress_into(&stored, &mut decoded, &cancel)?;
        assert_eq!(decoded, data, "{name} does not give back what it was given");

        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("compress", size), |bencher| {
            bencher.iter(|| codec.compress_into(black_box(&data), &mut payload, &cancel));
        });
        group.bench_function(BenchmarkId::new("decompress", size), |bencher| {
            bencher.iter(|| codec.decompress_into(black_box(&stored), &mut decoded, &cancel));
        });
    }
    group.finish();
    Ok(())
}

fn bench_checksum(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("crc32c");
    for size in SIZES {
        let data = log(size);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| checksum::crc32c(black_box(&data), 0));
        });
    }
    group.finish();
}

// Not criterion's macros: they make public functions that have no documentation.
fn main() -> Result<()> {
    let mut criterion = Criterion::default().configure_from_args();
    bench_checksum(&mut criterion);
    bench_codec(&mut criterion, "passthrough", &Passthrough)?;
    for level in [1, 3, 9] {
        bench_codec(
            &mut criterion,
            &format!("zstd-{level}"),
            &CpuZstd::new(level, true),
        )?;
    }
    for level in [1, 6] {
        bench_codec(
            &mut criterion,
            &format!("gzip-{level}"),
            &CpuGzip::new(level),
        )?;
    }
    criterion.final_summary();
    Ok(())
}
