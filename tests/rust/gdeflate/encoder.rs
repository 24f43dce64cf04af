//! A plain `GDeflate` encoder: what to say is said in the order of a reader, then the words are
//! dealt out as that reader asks for them.

#![allow(clippy::expect_used)]

/// Code lengths, by symbol.
pub type Lengths = Vec<u8>;

/// What a compressed block says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    /// One byte.
    Literal(u8),
    /// Length and distance of a repetition.
    Match(u32, u32),
}

/// Shortest value and extra bits of the length symbols from 257 on.
const LENGTHS: [(u32, u32); 29] = [
    (3, 0),
    (4, 0),
    (5, 0),
    (6, 0),
    (7, 0),
    (8, 0),
    (9, 0),
    (10, 0),
    (11, 1),
    (13, 1),
    (15, 1),
    (17, 1),
    (19, 2),
    (23, 2),
    (27, 2),
    (31, 2),
    (35, 3),
    (43, 3),
    (51, 3),
    (59, 3),
    (67, 4),
    (83, 4),
    (99, 4),
    (115, 4),
    (131, 5),
    (163, 5),
    (195, 5),
    (227, 5),
    (3, 16),
];

/// The length symbol, its extra bits and their number.
pub fn length_symbol(length: u32) -> (usize, u32, u32) {
    let last = LENGTHS.len() - 1;
    let index = match length {
        258.. => last,
        _ => (0..last)
            .rfind(|&index| LENGTHS[index].0 <= length)
            .expect("length of 3 or more"),
    };
    (257 + index, length - LENGTHS[index].0, LENGTHS[index].1)
}

/// The distance symbol, its extra bits and their number.
pub fn distance_symbol(distance: u32) -> (usize, u32, u32) {
    let mut base = 1;
    for symbol in 0..32_usize {
        let extra = (symbol as u32 / 2).saturating_sub(1);
        if distance < base + (1 << extra) {
            return (symbol, distance - base, extra);
        }
        base += 1 << extra;
    }
    panic!("distance {distance} is too far");
}

/// The bytes that tokens stand for.
pub fn plain(tokens: &[Token]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for token in tokens {
        match *token {
            Token::Literal(byte) => bytes.push(byte),
            Token::Match(length, distance) => {
                for _ in 0..length {
                    bytes.push(bytes[bytes.len() - distance as usize]);
                }
            }
        }
    }
    bytes
}

/// The codes of RFC 1951 for block type 1.
pub fn fixed_lengths() -> (Lengths, Lengths) {
    let mut literals = vec![8; 288];
    literals[144..256].fill(9);
    literals[256..280].fill(7);
    (literals, vec![5; 32])
}

/// Canonical codes, with the bits in the order of the stream.
fn codes(lengths: &[u8]) -> Vec<(u32, u32)> {
    let mut codes = vec![(0, 0); lengths.len()];
    let mut next = 0_u32;
    for length in 1..=15 {
        next <<= 1;
        for (symbol, _) in lengths
            .iter()
            .enumerate()
            .filter(|entry| *entry.1 == length)
        {
            codes[symbol] = (
                next.reverse_bits() >> (32 - u32::from(length)),
                u32::from(length),
            );
            next += 1;
        }
    }
    codes
}

/// A stream in the making: pieces of up to 32 bits, with their lanes, in the order of reading.
#[derive(Default)]
pub struct Encoder {
    pieces: Vec<(usize, u64, u32)>,
}

impl Encoder {
    /// Lets a lane say `count` bits.
    pub fn put(&mut self, lane: usize, bits: u32, count: u32) {
        self.pieces.push((lane % 32, u64::from(bits), count));
    }

    /// A block of bytes as they are.
    pub fn stored(&mut self, last: bool, bytes: &[u8]) {
        self.put(0, u32::from(last), 3);
        self.put(0, bytes.len() as u32, 16);
        for (index, byte) in bytes.iter().enumerate() {
            self.put(index, u32::from(*byte), 8);
        }
    }

    /// A block with the fixed codes.
    pub fn fixed(&mut self, last: bool, tokens: &[Token]) {
        self.put(0, u32::from(last) | 1 << 1, 3);
        let (literals, distances) = fixed_lengths();
        self.tokens(tokens, &literals, &distances);
    }

    /// A block with codes of its own.
    pub fn dynamic(&mut self, last: bool, tokens: &[Token], literals: &[u8], distances: &[u8]) {
        self.dynamic_header(last, literals, distances);
        self.tokens(tokens, literals, distances);
    }

    /// The header of a block with codes of its own.
    pub fn dynamic_header(&mut self, last: bool, literals: &[u8], distances: &[u8]) {
        // 13 codes of 4 bits and 6 of 5 bits use up all patterns.
        let mut precode = [4; 19];
        precode[13..].fill(5);
        self.precode(last, literals.len(), distances.len(), &precode);
        let all = [literals, distances].concat();
        self.lengths(&all, &precode);
    }

    /// Block header, counts and the code-length code.
    pub fn precode(&mut self, last: bool, literals: usize, distances: usize, precode: &[u8; 19]) {
        const ORDER: [usize; 19] = [
            16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
        ];
        self.put(0, u32::from(last) | 2 << 1, 3);
        self.put(0, literals as u32 - 257, 5);
        self.put(0, distances as u32 - 1, 5);
        self.put(0, 15, 4);
        for (lane, symbol) in ORDER.into_iter().enumerate() {
            self.put(lane, u32::from(precode[symbol]), 3);
        }
    }

    /// Code lengths, with all three kinds of repeats.
    fn lengths(&mut self, lengths: &[u8], precode: &[u8; 19]) {
        let mut lane = 0;
        let mut at = 0;
        while at < lengths.len() {
            let length = lengths[at];
            let run = lengths[at..]
                .iter()
                .take_while(|other| **other == length)
                .count();
            let repeats = at > 0 && lengths[at - 1] == length;
            let (symbol, extra, count, used) = match (length, run) {
                (0, 11..) => (18, run.min(138) - 11, 7, run.min(138)),
                (0, 3..) => (17, run - 3, 3, run),
                (_, 3..) if repeats => (16, run.min(6) - 3, 2, run.min(6)),
                _ => (usize::from(length), 0, 0, 1),
            };
            self.length_symbol(lane, symbol, extra as u32, count, precode);
            lane += 1;
            at += used;
        }
    }

    /// One symbol of the code-length code.
    pub fn length_symbol(
        &mut self,
        lane: usize,
        symbol: usize,
        extra: u32,
        count: u32,
        precode: &[u8; 19],
    ) {
        let (code, length) = codes(precode)[symbol];
        self.put(lane, code | extra << length, length + count);
    }

    /// The symbols of a block and its end, in rounds: the lane of a match says the distance one
    /// round after the length.
    pub fn tokens(&mut self, tokens: &[Token], literals: &[u8], distances: &[u8]) {
        let (literals, distances) = (codes(literals), codes(distances));
        let mut tokens = tokens.iter();
        let mut due = [None; 32];
        let mut ended = false;
        while !ended || due.iter().any(Option::is_some) {
            for (lane, due) in due.iter_mut().enumerate() {
                let (codes, (symbol, extra, count)) = if let Some(distance) = due.take() {
                    (&distances, distance_symbol(distance))
                } else if ended {
                    continue;
                } else {
                    let symbol = match tokens.next() {
                        Some(Token::Literal(byte)) => (usize::from(*byte), 0, 0),
                        Some(Token::Match(length, distance)) => {
                            *due = Some(*distance);
                            length_symbol(*length)
                        }
                        None => {
                            ended = true;
                            (256, 0, 0)
                        }
                    };
                    (&literals, symbol)
                };
                let (code, length) = codes[symbol];
                assert!(length > 0, "symbol {symbol} has no code");
                self.put(lane, code | extra << length, length + count);
            }
        }
    }

    /// The stream: every lane's bits, in words that are in the order of the refills.
    pub fn finish(&self) -> Vec<u8> {
        let mut bits: Vec<Vec<bool>> = vec![Vec::new(); 32];
        let mut refills: Vec<usize> = (0..32).collect();
        let mut held = [32; 32];
        for &(lane, piece, count) in &self.pieces {
            bits[lane].extend((0..count).map(|bit| piece >> bit & 1 == 1));
            held[lane] -= count;
            if held[lane] < 32 {
                held[lane] += 32;
                refills.push(lane);
            }
        }
        let mut taken = [0; 32];
        let mut stream = Vec::new();
        for lane in refills {
            let word = (0..32).fold(0_u32, |word, bit| {
                let set = bits[lane].get(taken[lane] + bit).is_some_and(|set| *set);
                word | u32::from(set) << bit
            });
            taken[lane] += 32;
            stream.extend(word.to_le_bytes());
        }
        stream
    }
}
