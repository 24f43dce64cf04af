//! The transform makes the parity of the matrix code: for all counts, lengths, places and kernels.

use reed_solomon_erasure::galois_8::ReedSolomon;
use shardpack::rs::{
    fft::{Encoder, pays},
    field::parity_rows,
    kernel::Kernel,
};

use crate::{
    naive,
    rs::{drbg, noise, slices, slices_mut},
    vectors::{json, make, number, rows, sha256, text},
};

/// Every kernel of this machine with both block sizes, for `k` data and `m` parity shards.
fn encoders(k: usize, m: usize) -> Vec<(String, Encoder)> {
    let kernels = Kernel::ALL.into_iter().filter(|kernel| kernel.available());
    kernels
        .flat_map(|kernel| [8, 16].map(|size| (kernel, size)))
        .map(|(kernel, size)| {
            let name = format!("{k}+{m} {} in blocks of {size}", kernel.name());
            (name, Encoder::with_size(k, m, kernel, size))
        })
        .collect()
}

fn made(encoder: &Encoder, data: &[Vec<u8>], m: usize) -> Vec<Vec<u8>> {
    let mut parity = vec![vec![0xAA; data[0].len()]; m];
    encoder.encode(&slices(data), 0, &mut slices_mut(&mut parity));
    parity
}

/// The parity by the crate that has the same code.
fn expected(data: &[Vec<u8>], m: usize) -> Vec<Vec<u8>> {
    let mut parity = vec![vec![0; data[0].len()]; m];
    ReedSolomon::new(data.len(), m)
        .expect("counts")
        .encode_sep(data, &mut parity)
        .expect("shards");
    parity
}

#[test]
fn every_code_of_up_to_forty_shards_is_made() {
    for k in 1..40 {
        for m in 1..=40 - k {
            let data = noise("small", k, 1 + (7 * k + 13 * m) % 150);
            let expected = expected(&data, m);
            for (name, encoder) in encoders(k, m) {
                assert!(made(&encoder, &data, m) == expected, "{name}");
            }
        }
    }
}

#[test]
fn large_codes_are_made() {
    let counts = [
        (64, 32),
        (65, 31),
        (63, 33),
        (100, 156),
        (77, 91),
        (128, 128),
        (127, 129),
        (200, 56),
        (250, 3),
        (255, 1),
        (1, 255),
        (15, 241),
        (17, 239),
    ];
    for (k, m) in counts {
        let data = noise("large", k, 131);
        let expected = expected(&data, m);
        for index in [0, m / 2, m - 1] {
            let few: Vec<Vec<u8>> = data.iter().map(|shard| shard[..2].to_vec()).collect();
            assert_eq!(expected[index][..2], naive::shard(&few, k + index));
        }
        for (name, encoder) in encoders(k, m) {
            assert!(made(&encoder, &data, m) == expected, "{name}");
        }
    }
}

#[test]
fn every_length_at_every_place_is_made_and_nothing_else_touched() {
    const GUARD: usize = 80;
    for (k, m) in [(16, 16), (13, 9), (40, 20)] {
        let whole = make("noise", "places", 20_000 + 97 * k);
        let lens = (1..140).chain([1000, 1023, 1024, 1100, 4095, 4096, 4097, 4160, 8200]);
        for (round, len) in lens.enumerate() {
            let (start, skew) = (round % 5, round * 7 % 64);
            let data: Vec<&[u8]> = (0..k)
                .map(|index| &whole[index * 97 + skew..][..start + len])
                .collect();
            let columns: Vec<Vec<u8>> = data.iter().map(|shard| shard[start..].to_vec()).collect();
            let expected = expected(&columns, m);
            let encoders = encoders(k, m);
            let (name, encoder) = &encoders[round % encoders.len()];
            let mut parity = vec![vec![0xAA; 2 * GUARD + len + m]; m];
            let mut places: Vec<&mut [u8]> = parity
                .iter_mut()
                .enumerate()
                .map(|(index, shard)| &mut shard[GUARD - index % 3..][..len])
                .collect();
            encoder.encode(&data, start, &mut places);
            for (index, (shard, expected)) in parity.iter().zip(&expected).enumerate() {
                let (before, rest) = shard.split_at(GUARD - index % 3);
                let (made, after) = rest.split_at(len);
                assert!(made == expected, "{name} len {len} parity {index}");
                let around = [before, after].concat();
                assert!(around.iter().all(|&byte| byte == 0xAA), "{name} len {len}");
            }
        }
    }
}

#[test]
fn recorded_codewords_are_made() {
    for row in rows(&json("rs/large.json"), "cases") {
        let (k, m) = (number(&row, "k") as usize, number(&row, "m") as usize);
        let labels = text(&row, "data_labels").to_owned();
        let data: Vec<Vec<u8>> = (0..k)
            .map(|index| {
                let label = labels.replace("<i>", &index.to_string());
                drbg(&label, number(&row, "shard_len") as usize)
            })
            .collect();
        for (name, encoder) in encoders(k, m) {
            let parity = made(&encoder, &data, m);
            for (shard, digest) in parity.iter().zip(rows(&row, "parity_sha256")) {
                assert_eq!(sha256(shard), digest.as_str().expect("hex"), "{name}");
            }
        }
    }
}

#[test]
fn the_shortest_slice_says_how_many_bytes_are_made() {
    let (k, m) = (20, 10);
    let mut data = noise("short", k, 300);
    let expected = expected(&data, m);
    data[7].truncate(205);
    for (name, encoder) in encoders(k, m) {
        let mut parity = vec![vec![0xAA; 300]; m];
        parity[3].truncate(250);
        encoder.encode(&slices(&data), 5, &mut slices_mut(&mut parity));
        for (shard, expected) in parity.iter().zip(&expected) {
            assert_eq!(shard[..200], expected[5..205], "{name}");
            assert!(shard[200..].iter().all(|&byte| byte == 0xAA), "{name}");
        }
    }
}

#[test]
fn other_counts_than_agreed_make_nothing() {
    let data = noise("counts", 16, 100);
    for (name, encoder) in encoders(16, 8) {
        for (k, m) in [(15, 8), (16, 7), (16, 9), (0, 8), (16, 0)] {
            let mut parity = vec![vec![0xAA; 100]; m];
            encoder.encode(&slices(&data[..k]), 0, &mut slices_mut(&mut parity));
            let untouched = parity.iter().flatten().all(|&byte| byte == 0xAA);
            assert!(untouched, "{name}: {k}+{m}");
        }
        let mut parity = vec![vec![0xAA; 100]; 8];
        encoder.encode(&slices(&data), 100, &mut slices_mut(&mut parity));
        encoder.encode(&slices(&data), 101, &mut slices_mut(&mut parity));
        assert!(parity.iter().flatten().all(|&byte| byte == 0xAA), "{name}");
    }
}

#[test]
fn counts_that_make_no_code_are_cut_not_refused() {
    for (k, m) in [
        (0, 0),
        (0, 5),
        (300, 300),
        (256, 0),
        (usize::MAX, usize::MAX),
    ] {
        let encoder = Encoder::new(k, m, Kernel::Scalar);
        encoder.encode(&[], 0, &mut []);
    }
}

#[test]
fn large_codes_pay_and_small_ones_do_not() {
    for kernel in Kernel::ALL {
        for (k, m) in [(64, 32), (128, 128), (32, 32), (100, 156), (24, 8)] {
            assert!(pays(k, m, kernel), "{k}+{m} {}", kernel.name());
        }
        for (k, m) in [(1, 1), (4, 2), (10, 4), (17, 3), (1, 255), (255, 1)] {
            assert!(!pays(k, m, kernel), "{k}+{m} {}", kernel.name());
        }
    }
}

#[test]
fn threads_and_reuse_of_memory_change_nothing() {
    let data = noise("threads", 48, 3000);
    let expected = expected(&data, 24);
    let matrix = parity_rows(48, 24);
    let mut by_matrix = vec![vec![0; 3000]; 24];
    Kernel::Scalar.dot(
        &matrix,
        &slices(&data),
        0,
        &mut slices_mut(&mut by_matrix),
        false,
    );
    assert!(by_matrix == expected);
    let encoder = Encoder::new(48, 24, Kernel::best());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    assert!(made(&encoder, &data, 24) == expected);
                }
            });
        }
    });
}
