//! SHA-256 and BLAKE3 of the core, each kernel beside the crate that does one message at a time.
//!
//! `cargo bench --bench hash` runs it; times of one run are compared, never those of two.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use sha2::Digest as _;
use shardpack::hash::{Digest, blake3, sha256};

/// Leaves and inner nodes of Merkle trees, and a page.
const SIZES: [usize; 5] = [41, 64, 97, 512, 1024];
/// A message that one kernel works on for a while.
const LONG: usize = 1 << 20;
/// Messages of a batch.
const COUNT: usize = 1024;

type Many<'a> = Box<dyn Fn(&[&[u8]], &mut [Digest]) + 'a>;

/// Bytes of a fixed sequence.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut byte = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    (0..len).map(|_| byte()).collect()
}

/// The contenders on batches of messages of one size, and on one of mixed sizes.
fn bench_batches(criterion: &mut Criterion, name: &str, contenders: &[(String, Many<'_>)]) {
    let bytes = noise(SIZES[SIZES.len() - 1] * COUNT);
    let mut batches: Vec<(String, Vec<&[u8]>)> = SIZES
        .iter()
        .map(|&size| (size.to_string(), bytes.chunks(size).take(COUNT).collect()))
        .collect();
    let mixed = (0..COUNT).map(|at| &bytes[at..at + at * at * 97 % 1000]);
    batches.push(("mixed".into(), mixed.collect()));
    for (size, messages) in &batches {
        let mut group = criterion.benchmark_group(format!("{name} of {COUNT} x {size}"));
        let total: usize = messages.iter().map(|message| message.len()).sum();
        group.throughput(Throughput::Bytes(total as u64));
        let mut digests = vec![[0; 32]; messages.len()];
        for (contender, many) in contenders {
            group.bench_function(BenchmarkId::from_parameter(contender), |bencher| {
                bencher.iter(|| many(black_box(messages), &mut digests));
            });
        }
        group.finish();
    }
}

fn bench_sha256(criterion: &mut Criterion) {
    let kernels: Vec<_> = sha256::Kernel::ALL
        .into_iter()
        .filter(|kernel| kernel.available())
        .collect();
    let mut contenders: Vec<(String, Many<'_>)> = vec![(
        "crate".into(),
        Box::new(|messages, digests| {
            for (message, digest) in messages.iter().zip(digests) {
                *digest = sha2::Sha256::digest(message).into();
            }
        }),
    )];
    for &kernel in &kernels {
        let many: Many<'_> =
            Box::new(move |messages, digests| kernel.digest_many(messages, digests));
        contenders.push((kernel.name().into(), many));
    }
    bench_batches(criterion, "sha256", &contenders);

    let message = noise(LONG);
    let mut group = criterion.benchmark_group(format!("sha256 of {LONG}"));
    group.throughput(Throughput::Bytes(LONG as u64));
    group.bench_function("crate", |bencher| {
        bencher.iter(|| sha2::Sha256::digest(black_box(&message)));
    });
    for kernel in kernels {
        group.bench_function(kernel.name(), |bencher| {
            bencher.iter(|| kernel.digest(black_box(&message)));
        });
    }
    group.finish();
}

fn bench_blake3(criterion: &mut Criterion) {
    let mut contenders: Vec<(String, Many<'_>)> = vec![(
        "crate".into(),
        Box::new(|messages, digests| {
            for (message, digest) in messages.iter().zip(digests) {
                *digest = blake3::digest(message);
            }
        }),
    )];
    for kernel in blake3::Kernel::ALL {
        if kernel.available() {
            let many: Many<'_> =
                Box::new(move |messages, digests| kernel.digest_many(messages, digests));
            contenders.push((kernel.name().into(), many));
        }
    }
    bench_batches(criterion, "blake3", &contenders);
}

// Not criterion's macros: they make public functions that have no documentation.
fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    bench_sha256(&mut criterion);
    bench_blake3(&mut criterion);
    criterion.final_summary();
}
