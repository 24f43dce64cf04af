//! `GDeflate` streams: recorded from NVIDIA's encoder, made by the plain encoder here, and damaged.

#![allow(clippy::expect_used)]

use std::{fmt::Write as _, fs, path::PathBuf, time::Duration, time::Instant};

use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use shardpack::{Error, gpu::gdeflate::decompress_into};

mod encoder;

use encoder::{Encoder, Token, fixed_lengths, plain};

/// A recorded stream and what it decodes to.
struct Recorded {
    name: String,
    stream: Vec<u8>,
    plain: Vec<u8>,
}

fn recorded() -> Vec<Recorded> {
    let folder = PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/vectors/gdeflate"
    ));
    let manifest = fs::read(folder.join("manifest.json")).expect("manifest");
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    let streams = manifest["streams"].as_array().expect("streams");
    let text = |row: &serde_json::Value, key: &str| row[key].as_str().expect("text").to_owned();
    streams
        .iter()
        .map(|row| {
            let name = text(row, "name");
            let size = row["size"].as_u64().expect("size") as usize;
            let plain = generate(&text(row, "generator"), &text(row, "seed"), size);
            assert_eq!(
                hex(&Sha256::digest(&plain)),
                text(row, "sha256"),
                "generator of {name}"
            );
            Recorded {
                stream: fs::read(folder.join(&name)).expect("stream"),
                name,
                plain,
            }
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("text");
        text
    })
}

/// The generators of the manifest.
fn generate(kind: &str, seed: &str, size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut index = 0_u64;
    while bytes.len() < size {
        match kind {
            "zeros" => bytes.push(0),
            "noise" => bytes.extend(Sha256::digest(format!("{seed}:{index}"))),
            "lines" => {
                let order = index * 2_654_435_761 % 100_000;
                bytes.extend(format!("{index:08} {seed} order={order} level=info\n").bytes());
            }
            "events" => {
                let (time, id) = (1_780_000_000 + index, index * 31);
                let line = format!(
                    "{{\"ts\":{time},\"svc\":\"{seed}\",\"ev\":\"order_created\",\"id\":\"ord_{id:08}\"}}\n"
                );
                bytes.extend(line.bytes());
            }
            "cycle" => bytes.push((index * 31 + (index >> 13)) as u8),
            "u32col" => bytes.extend((index as u32 * 3).to_le_bytes()),
            "u64col" => bytes.extend((1_700_000_000_000_000_000 + index * 137).to_le_bytes()),
            other => panic!("generator {other}"),
        }
        index += 1;
    }
    bytes.truncate(size);
    bytes
}

fn decode(stream: &[u8], len: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0xAA; len];
    decompress_into(stream, &mut bytes).map(|()| bytes)
}

/// What the decoder says to a stream that it refuses.
#[track_caller]
fn refusal(stream: &[u8], len: usize) -> String {
    match decode(stream, len) {
        Err(Error::Fcg1(text)) => text,
        other => panic!("not refused: {other:?}"),
    }
}

/// A stream of one block, and what it decodes to.
fn one_block(fill: impl FnOnce(&mut Encoder)) -> Vec<u8> {
    let mut encoder = Encoder::default();
    fill(&mut encoder);
    encoder.finish()
}

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % limit as u64) as usize
    }

    /// Lengths of a complete code for `used` of `count` symbols, among them those in `must`.
    fn complete_code(&mut self, count: usize, used: usize, must: &[usize]) -> Vec<u8> {
        let mut leaves = vec![1_u8, 1];
        while leaves.len() < used {
            let leaf = self.below(leaves.len());
            // Preferring the newest leaf makes long codes.
            let leaf = if self.below(2) == 0 {
                leaves.len() - 1
            } else {
                leaf
            };
            if leaves[leaf] < 15 {
                leaves[leaf] += 1;
                leaves.push(leaves[leaf]);
            }
        }
        let mut symbols: Vec<usize> = must.to_vec();
        while symbols.len() < leaves.len() {
            let symbol = self.below(count);
            if !symbols.contains(&symbol) {
                symbols.push(symbol);
            }
        }
        let mut lengths = vec![0; count];
        for symbol in symbols {
            lengths[symbol] = leaves.swap_remove(self.below(leaves.len()));
        }
        lengths
    }

    /// Tokens that only use symbols with a code, after `before` bytes of output.
    fn tokens(
        &mut self,
        count: usize,
        literals: &[u8],
        distances: &[u8],
        before: usize,
    ) -> Vec<Token> {
        let known: Vec<usize> = (0..256).filter(|symbol| literals[*symbol] > 0).collect();
        let mut at = before;
        let mut tokens = Vec::new();
        for _ in 0..count {
            let length = 3 + if self.below(20) == 0 {
                self.below(2000)
            } else {
                self.below(30)
            };
            let distance = 1 + self.below(at.max(1)).min(self.below(70_000)).min(65_535);
            let length_code = encoder::length_symbol(length as u32).0;
            let distance_code = encoder::distance_symbol(distance as u32).0;
            let has_codes = literals.get(length_code).is_some_and(|length| *length > 0)
                && distances
                    .get(distance_code)
                    .is_some_and(|length| *length > 0);
            if distance <= at && has_codes && self.below(2) == 0 {
                tokens.push(Token::Match(length as u32, distance as u32));
                at += length;
            } else if !known.is_empty() {
                tokens.push(Token::Literal(known[self.below(known.len())] as u8));
                at += 1;
            }
        }
        tokens
    }
}

#[test]
fn recorded_streams_decode_to_their_plain_bytes() {
    let recorded = recorded();
    assert!(recorded.len() > 30);
    for Recorded {
        name,
        stream,
        plain,
    } in recorded
    {
        assert!(
            decode(&stream, plain.len()).expect(&name) == plain,
            "{name}"
        );
    }
}

#[test]
fn a_wrong_expected_length_is_refused() {
    for Recorded {
        name,
        stream,
        plain,
    } in recorded()
    {
        for len in [0, plain.len() - 1, plain.len() + 1, plain.len() + 100_000] {
            assert!(decode(&stream, len).is_err(), "{name} as {len} bytes");
        }
    }
}

#[test]
fn a_cut_stream_is_refused_unless_only_padding_is_missing() {
    for Recorded {
        name,
        stream,
        plain,
    } in recorded()
    {
        let step = if stream.len() < 1200 {
            1
        } else {
            stream.len() / 300
        };
        for len in (0..stream.len()).step_by(step) {
            if let Ok(bytes) = decode(&stream[..len], plain.len()) {
                assert!(
                    bytes == plain,
                    "{name} cut to {len} bytes decodes to something else"
                );
                assert!(
                    len + 128 >= stream.len(),
                    "{name} cut to {len} bytes is accepted"
                );
                assert!(
                    stream[len..].iter().all(|byte| *byte == 0),
                    "{name} cut to {len} bytes"
                );
            }
        }
    }
}

#[test]
fn flipped_bits_never_panic() {
    for Recorded { stream, plain, .. } in recorded() {
        let step = if stream.len() < 500 {
            1
        } else {
            stream.len() * 8 / 300
        };
        for bit in (0..stream.len() * 8).step_by(step) {
            let mut stream = stream.clone();
            stream[bit / 8] ^= 1 << (bit % 8);
            let _ = decode(&stream, plain.len());
        }
    }
}

#[test]
fn words_after_the_last_block_are_ignored() {
    let mut stream = one_block(|encoder| encoder.stored(true, b"bytes"));
    stream.extend([0xFF; 400]);
    assert_eq!(decode(&stream, 5).expect("sound"), b"bytes");
}

#[test]
fn a_stream_of_no_whole_words_is_refused() {
    let mut stream = one_block(|encoder| encoder.stored(true, b"bytes"));
    stream.push(0);
    assert!(refusal(&stream, 5).contains("bytes"));
    assert!(refusal(&[], 0).contains("0 bytes"));
}

#[test]
fn blocks_of_all_types_follow_each_other() {
    let (literals, distances) = fixed_lengths();
    let first = Numbers(1).tokens(500, &literals, &distances, 0);
    let mut all = first.clone();
    all.extend(b"stored".map(Token::Literal));
    let third = Numbers(2).tokens(500, &literals, &distances, plain(&all).len());
    all.extend(&third);
    let stream = one_block(|encoder| {
        encoder.fixed(false, &first);
        encoder.stored(false, b"stored");
        encoder.stored(false, b"");
        encoder.fixed(false, &[]);
        encoder.dynamic(true, &third, &literals[..286], &distances);
    });
    let want = plain(&all);
    // 286 of the 288 fixed codes leave patterns unused, which only a fixed block may.
    assert!(refusal(&stream, want.len()).contains("literal"));
    let stream = one_block(|encoder| {
        encoder.fixed(false, &first);
        encoder.stored(false, b"stored");
        encoder.stored(false, b"");
        encoder.fixed(false, &[]);
        encoder.dynamic(true, &third, &literals, &distances);
    });
    assert!(decode(&stream, want.len()).expect("sound") == want);
}

#[test]
fn the_longest_match_and_the_farthest_distance_of_deflate64_work() {
    let mut tokens: Vec<Token> = (0..=255).map(Token::Literal).collect();
    tokens.push(Token::Match(65_538, 256));
    tokens.push(Token::Match(258, 1));
    tokens.push(Token::Match(4, 65_536));
    tokens.push(Token::Match(300, 32_769));
    tokens.push(Token::Match(300, 49_152));
    tokens.push(Token::Match(300, 49_153));
    let stream = one_block(|encoder| encoder.fixed(true, &tokens));
    let want = plain(&tokens);
    assert!(decode(&stream, want.len()).expect("sound") == want);
}

#[test]
fn a_distance_code_of_one_symbol_works() {
    let mut literals = vec![0; 260];
    (literals[97], literals[256], literals[259]) = (1, 2, 2);
    let mut tokens = vec![Token::Literal(97)];
    tokens.extend([Token::Match(5, 1); 100]);
    let stream = one_block(|encoder| encoder.dynamic(true, &tokens, &literals, &[1]));
    assert_eq!(decode(&stream, 501).expect("sound"), [97; 501]);
}

#[test]
fn a_block_of_literals_needs_no_distance_code() {
    let mut literals = vec![0; 257];
    (literals[97], literals[256]) = (1, 1);
    let tokens = [Token::Literal(97); 77];
    let stream = one_block(|encoder| encoder.dynamic(true, &tokens, &literals, &[0]));
    assert_eq!(decode(&stream, 77).expect("sound"), [97; 77]);
}

#[test]
fn the_unused_half_of_a_code_of_one_symbol_is_refused() {
    let mut literals = vec![0; 258];
    (literals[97], literals[256], literals[257]) = (1, 2, 2);
    let stream = one_block(|encoder| {
        encoder.dynamic_header(true, &literals, &[1]);
        // A literal, then a length, then the distance pattern that no symbol has.
        let (literals, distances) = (&literals, &[2, 1]);
        encoder.tokens(
            &[Token::Literal(97), Token::Match(3, 1)],
            literals,
            distances,
        );
    });
    assert!(refusal(&stream, 4).contains("no code"));
}

#[test]
fn codes_that_do_not_add_up_are_refused() {
    let sound = fixed_lengths();
    let cases: [(&str, &str, Vec<u8>, Vec<u8>); 6] = [
        ("literal", "more codes", [1; 257].to_vec(), vec![1]),
        ("literal", "without a meaning", [9; 257].to_vec(), vec![1]),
        (
            "literal",
            "without a meaning",
            [vec![0; 256], vec![2]].concat(),
            vec![1],
        ),
        ("distance", "more codes", sound.0.clone(), vec![1; 3]),
        ("distance", "without a meaning", sound.0.clone(), vec![2; 3]),
        ("distance", "without a meaning", sound.0, vec![2]),
    ];
    for (code, problem, literals, distances) in cases {
        let stream = one_block(|encoder| {
            encoder.dynamic_header(true, &literals, &distances);
            (0..32).for_each(|lane| encoder.put(lane, 0, 32));
        });
        let text = refusal(&stream, 10);
        assert!(text.contains(code) && text.contains(problem), "{text}");
    }
}

#[test]
fn code_lengths_that_do_not_add_up_are_refused() {
    let mut precode = [4; 19];
    precode[13..].fill(5);
    let header = |symbols: &[(usize, u32, u32)]| {
        one_block(|encoder| {
            encoder.precode(true, 257, 1, &precode);
            for (lane, &(symbol, extra, count)) in symbols.iter().enumerate() {
                encoder.length_symbol(lane, symbol, extra, count, &precode);
            }
            (0..32).for_each(|lane| encoder.put(lane, 0, 32));
        })
    };
    assert!(refusal(&header(&[(16, 0, 2)]), 1).contains("before the first"));
    assert!(refusal(&header(&[(18, 127, 7), (18, 127, 7)]), 1).contains("258"));
    let stream = one_block(|encoder| encoder.precode(true, 257, 1, &[7; 19]));
    assert!(refusal(&stream, 1).contains("code-length"));
    let stream = one_block(|encoder| encoder.precode(true, 257, 1, &[3; 19]));
    assert!(refusal(&stream, 1).contains("code-length"));
}

#[test]
fn block_type_3_is_refused() {
    let stream = one_block(|encoder| encoder.put(0, 0b111, 3));
    assert!(refusal(&stream, 1).contains("block type 3"));
}

#[test]
fn a_match_from_before_the_start_is_refused() {
    let tokens = [Token::Literal(1), Token::Literal(2), Token::Match(3, 3)];
    let stream = one_block(|encoder| encoder.fixed(true, &tokens));
    let text = refusal(&stream, 5);
    assert!(
        text.contains("back 3 bytes") && text.contains("after 2 of 5"),
        "{text}"
    );
}

#[test]
fn pieces_that_do_not_fit_are_refused() {
    let stored = one_block(|encoder| encoder.stored(true, &[7; 500]));
    assert!(refusal(&stored, 499).contains("500"));
    let tokens = [Token::Literal(1), Token::Match(100, 1)];
    let matched = one_block(|encoder| encoder.fixed(true, &tokens));
    assert!(refusal(&matched, 100).contains("after 1 of 100"));
    let literals = one_block(|encoder| encoder.fixed(true, &[Token::Literal(1); 100]));
    assert!(refusal(&literals, 99).contains("of 99"));
}

#[test]
fn the_symbols_without_a_meaning_are_refused() {
    let (mut literals, distances) = fixed_lengths();
    literals.swap(286, 97);
    for symbol in [286, 287] {
        let stream = one_block(|encoder| {
            encoder.put(0, 0b11, 3);
            // Fixed codes 280 to 287 are the 8-bit patterns from 0xC0 on.
            let code = (0xC0 + symbol - 280_u32).reverse_bits() >> 24;
            encoder.put(0, code, 8);
            encoder.tokens(&[], &literals, &distances);
        });
        assert!(refusal(&stream, 1).contains("no code"));
    }
}

#[test]
fn endless_empty_blocks_are_refused_long_before_they_end() {
    // Zeros are stored blocks of no bytes, none of them the last.
    let start = Instant::now();
    assert!(refusal(&vec![0; 4 << 20], 10).contains("more blocks"));
    // 10 bits each: empty blocks with the fixed codes.
    let fixed: Vec<u8> = [0b0000_0010, 0].repeat(200_000);
    assert!(!refusal(&fixed, 1).is_empty());
    assert!(start.elapsed() < Duration::from_secs(1));
}

proptest! {
    #[test]
    fn streams_with_any_codes_decode_to_their_plain_bytes(
        seed in any::<u64>(),
        used in 2..=286_usize,
        distances_used in 2..=32_usize,
        count in 0..1500_usize,
        blocks in 1..4_usize,
    ) {
        let mut numbers = Numbers(seed);
        let mut encoder = Encoder::default();
        let mut all = Vec::new();
        for block in 1..=blocks {
            let literals = numbers.complete_code(286, used, &[256, 97]);
            let distances = numbers.complete_code(32, distances_used, &[]);
            let tokens = numbers.tokens(count, &literals, &distances, plain(&all).len());
            encoder.dynamic(block == blocks, &tokens, &literals, &distances);
            all.extend(tokens);
        }
        let want = plain(&all);
        let stream = encoder.finish();
        prop_assert!(decode(&stream, want.len()).expect("sound") == want);
        prop_assert!(decode(&stream, want.len() + 1).is_err());
    }

    #[test]
    fn random_words_never_panic(
        stream in proptest::collection::vec(any::<u8>(), 0..3000),
        kind in 0..4_u8,
        len in 0..5000_usize,
    ) {
        let mut stream = stream;
        stream.truncate(stream.len() / 4 * 4);
        if let Some(first) = stream.first_mut() {
            *first = *first & !7 | kind << 1;
        }
        let _ = decode(&stream, len);
    }
}
