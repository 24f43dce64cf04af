//! The rules once more, slow and so simple that they are unlikely to be wrong.

/// CRC32C, bit by bit, continued from `init`.
pub fn crc32c(bytes: &[u8], init: u32) -> u32 {
    let mut register = !init;
    for &byte in bytes {
        for place in 0..8 {
            let bit = u32::from(byte >> place & 1);
            let carry = (register & 1) ^ bit;
            register >>= 1;
            if carry == 1 {
                register ^= 0x82F6_3B78;
            }
        }
    }
    !register
}

/// MD5 as RFC 1321 tells it: the whole message padded, one step after the other.
pub fn md5(message: &[u8]) -> [u8; 16] {
    const SHIFTS: [[u32; 4]; 4] = [
        [7, 12, 17, 22],
        [5, 9, 14, 20],
        [4, 11, 16, 23],
        [6, 10, 15, 21],
    ];
    let mut padded = message.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend((message.len() as u64 * 8).to_le_bytes());
    let mut state = [0x6745_2301_u32, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476];
    for block in padded.chunks(64) {
        let word = |at: usize| u32::from_le_bytes(block[4 * at..4 * at + 4].try_into().unwrap());
        let [mut a, mut b, mut c, mut d] = state;
        for step in 0..64 {
            let (mixed, at) = match step / 16 {
                0 => (b & c | !b & d, step),
                1 => (b & d | c & !d, 5 * step + 1),
                2 => (b ^ c ^ d, 3 * step + 5),
                _ => (c ^ (b | !d), 7 * step),
            };
            let number = f64::from(step as u32 + 1);
            #[expect(clippy::cast_sign_loss, reason = "it is positive")]
            let sine = (number.sin().abs() * 4_294_967_296.0) as u32;
            let sum = a
                .wrapping_add(mixed)
                .wrapping_add(word(at % 16))
                .wrapping_add(sine);
            let turned = sum.rotate_left(SHIFTS[step / 16][step % 4]);
            (a, b, c, d) = (d, b.wrapping_add(turned), b, c);
        }
        for (word, addend) in state.iter_mut().zip([a, b, c, d]) {
            *word = word.wrapping_add(addend);
        }
    }
    let mut digest = [0; 16];
    for (place, word) in digest.chunks_mut(4).zip(state) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    digest
}

/// Why a walk stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    HeaderCut,
    Magic,
    Codec,
    PayloadCut,
    PaddingCut,
}

/// A frame as its bytes say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub offset: u64,
    pub codec: u64,
    pub original: u64,
    pub crc: u64,
    pub payload: Vec<u8>,
}

/// Takes bytes from the front, one at a time.
struct Tape<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Tape<'_> {
    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn byte(&mut self) -> u8 {
        self.at += 1;
        self.bytes[self.at - 1]
    }

    fn bytes(&mut self, len: u64) -> Vec<u8> {
        (0..len).map(|_| self.byte()).collect()
    }

    fn number(&mut self, len: u32) -> u64 {
        (0..len)
            .map(|place| u64::from(self.byte()) << (8 * place))
            .sum()
    }
}

/// The frames of a body, or where it stops being one.
pub fn walk(body: &[u8]) -> Result<Vec<Frame>, Stop> {
    let mut frames = Vec::new();
    let mut tape = Tape { bytes: body, at: 0 };
    while tape.left() > 0 {
        let offset = tape.at as u64;
        let padding = tape.left() >= 4 && &body[tape.at..tape.at + 4] == b"S4P1";
        if tape.left() < if padding { 12 } else { 28 } {
            return Err(Stop::HeaderCut);
        }
        let magic = tape.bytes(4);
        if padding {
            let len = tape.number(8);
            if len > tape.left() as u64 {
                return Err(Stop::PaddingCut);
            }
            tape.bytes(len);
            continue;
        }
        if magic != b"S4F2" {
            return Err(Stop::Magic);
        }
        let codec = tape.number(4);
        if codec > 8 {
            return Err(Stop::Codec);
        }
        let (original, stored, crc) = (tape.number(8), tape.number(8), tape.number(4));
        if stored > tape.left() as u64 {
            return Err(Stop::PayloadCut);
        }
        let payload = tape.bytes(stored);
        frames.push(Frame {
            offset,
            codec,
            original,
            crc,
            payload,
        });
    }
    Ok(frames)
}

/// `[original offset, original size, stored offset, stored size]` of a frame.
pub type Row = [u64; 4];

/// `[first frame, last frame, byte start, byte end, slice start, slice end]` for a range of the
/// original, found by looking at every row for each end of it.
pub fn lookup(rows: &[Row], start: u64, end: u64) -> Option<[u64; 6]> {
    let last = rows.last()?;
    let end = end.min(last[0] + last[1]);
    if start >= end {
        return None;
    }
    let holder = |byte: u64| {
        (0..rows.len()).find(|&at| byte >= rows[at][0] && byte - rows[at][0] < rows[at][1])
    };
    let (first, last) = (holder(start)?, holder(end - 1)?);
    Some([
        first as u64,
        last as u64,
        rows[first][2],
        rows[last][2] + rows[last][3],
        start - rows[first][0],
        end - rows[first][0],
    ])
}

/// `[first chunk, last chunk, stored start, stored end, slice start, slice end]` for the plaintext
/// positions `start..end` of an encrypted body, found by laying out all of its chunks.
pub fn encrypted(
    chunk: u64,
    count: u64,
    plaintext: u64,
    header: u64,
    (start, end): (u64, u64),
) -> Option<[u64; 6]> {
    if start >= end || end > plaintext {
        return None;
    }
    let mut place = header;
    let mut chunks = Vec::new();
    for number in 0..count {
        let from = number * chunk;
        let to = if number == count - 1 {
            plaintext
        } else {
            from + chunk
        };
        let stored = place + to.saturating_sub(from) + 16;
        chunks.push((from, place, stored));
        place += chunk + 16;
    }
    let holder = |byte: u64| {
        chunks
            .iter()
            .position(|&(from, ..)| byte / chunk == from / chunk)
    };
    let (first, last) = (holder(start)?, holder(end - 1)?);
    Some([
        first as u64,
        last as u64,
        chunks[first].1,
        chunks[last].2,
        start - chunks[first].0,
        end - chunks[first].0,
    ])
}

/// Length of `length` framed bytes after padding to `minimum`, by trying every filler.
pub fn padded_len(length: usize, minimum: usize) -> usize {
    if length >= minimum {
        return length;
    }
    let mut padded = length + 12;
    while padded < minimum {
        padded += 1;
    }
    padded
}

/// Would the gateway leave an object alone that begins with `sample`?
pub fn looks_packed(sample: &[u8]) -> bool {
    let sample: Vec<u8> = sample.iter().copied().take(4096).collect();
    let heads: [(usize, &[u8]); 12] = [
        (0, &[0x1f, 0x8b]),
        (0, &[0x28, 0xb5, 0x2f, 0xfd]),
        (0, &[0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
        (0, &[0xff, 0xd8, 0xff]),
        (0, &[0x25, 0x50, 0x44, 0x46, 0x2d]),
        (0, &[0x50, 0x4b, 0x03, 0x04]),
        (0, &[0x37, 0x7a, 0xbc, 0xaf, 0x27, 0x1c]),
        (0, &[0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]),
        (0, &[0x42, 0x5a, 0x68]),
        (4, &[0x66, 0x74, 0x79, 0x70]),
        (0, &[0x1a, 0x45, 0xdf, 0xa3]),
        (8, &[0x57, 0x45, 0x42, 0x50]),
    ];
    let mut known = false;
    for (at, head) in heads {
        let here = sample.len() >= at + head.len() && &sample[at..at + head.len()] == head;
        // The last head is the second half of one: `RIFF....WEBP`.
        known |= here && (at != 8 || &sample[..4] == b"RIFF");
    }
    if known && sample.len() > 48 && bits_per_byte(&sample[16..]) >= 7.5 {
        return true;
    }
    sample.len() >= 128 && bits_per_byte(&sample) >= 7.5
}

fn bits_per_byte(bytes: &[u8]) -> f64 {
    let mut counts = vec![0.0; 256];
    for byte in bytes {
        counts[usize::from(*byte)] += 1.0;
    }
    let mut bits = 0.0;
    for count in counts {
        let share = count / f64::from(bytes.len() as u32);
        if share > 0.0 {
            bits += share * (1.0 / share).log2();
        }
    }
    bits
}

/// The product in GF(2^8) with the polynomial 0x11D, bit by bit.
pub fn gf_mul(a: u8, b: u8) -> u8 {
    let mut product = 0;
    for bit in (0..8).rev() {
        let carry = product & 0x80;
        product <<= 1;
        if carry > 0 {
            product ^= 0x1D;
        }
        if b >> bit & 1 == 1 {
            product ^= a;
        }
    }
    product
}

/// The quotient in GF(2^8), by trying.
pub fn gf_div(a: u8, b: u8) -> u8 {
    (0..=255).find(|&c| gf_mul(c, b) == a).expect("b is not 0")
}

/// The value at `at` of the polynomial of lowest degree through `points`, by Lagrange's formula.
pub fn gf_interpolate(points: &[(u8, u8)], at: u8) -> u8 {
    let mut sum = 0;
    for &(x, y) in points {
        let (mut above, mut below) = (y, 1);
        for &(other, _) in points {
            if other != x {
                above = gf_mul(above, at ^ other);
                below = gf_mul(below, x ^ other);
            }
        }
        sum ^= gf_div(above, below);
    }
    sum
}

/// Shard `index` of the Reed-Solomon code whose first shards are `data`.
pub fn shard(data: &[Vec<u8>], index: usize) -> Vec<u8> {
    let column = |at: usize| {
        let points = data.iter().enumerate();
        let points: Vec<(u8, u8)> = points.map(|(x, shard)| (x as u8, shard[at])).collect();
        gf_interpolate(&points, index as u8)
    };
    (0..data[0].len()).map(column).collect()
}
