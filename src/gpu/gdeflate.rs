//! `GDeflate` on the CPU: DEFLATE whose bits are dealt out to 32 lanes.
//!
//! A stream is a sequence of 32-bit words. Every lane owns a bit buffer and appends the next word of
//! the shared input as soon as it holds fewer than 32 bits. Lanes take turns, one symbol each: a
//! *round*. A lane that read a match length reads that match's distance in the round after, so the
//! output of a round is written when the next one has been decoded.
//!
//! All symbols share one table, one entry format and one sequence of instructions without a branch
//! on the kind: which lane is due for a distance looks random to a branch predictor. What a round
//! decodes is sorted into literals and matches on the way, and written in runs. One core decodes 0.5
//! to 0.8 GB of text in a second, 0.25 GB of numbers.
//!
//! Input is untrusted: every damage is an error, nothing is allocated, no bit is invented. A lane
//! may be handed a word of zeros from behind the end, as encoders do not fill up every lane, but it
//! may never use it up; this also bounds the work by the length of the input.

#![forbid(unsafe_code)]

use super::huffman::{
    self, DISTANCE_COUNT, END, INVALID, LENGTH, LITERAL_COUNT, Table, UNUSUAL, base, bit_count,
    value,
};
use crate::error::Error;

/// Lanes of a stream, and most symbols of one round.
/// Blocks that any chunk may have, and original bytes that stand for one more.
const MIN_BLOCKS: usize = 64;
const BYTES_PER_BLOCK: usize = 16;
const LANES: usize = 32;
/// Step of a copy from at least as far back.
const WIDE: usize = 32;
/// Step of a copy from nearer.
const NARROW: usize = 8;
/// The order in which the lengths of the code-length code are sent.
const PRECODE_ORDER: [u8; 19] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];

/// Decodes one chunk into exactly `dst.len()` bytes. After an error `dst` holds anything.
///
/// # Errors
/// [`Error::Fcg1`] for a stream that breaks the format or has another length.
pub fn decompress_into(chunk: &[u8], dst: &mut [u8]) -> Result<(), Error> {
    let mut output = Output { bytes: dst, at: 0 };
    decode(chunk, &mut output).map_err(|damage| {
        let (at, want) = (output.at, output.bytes.len());
        Error::Fcg1(format!(
            "gdeflate: {damage} (after {at} of {want} bytes of output)"
        ))
    })
}

/// Why a chunk is no `GDeflate` stream of the expected length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Damage {
    #[error("a stream is whole 32-bit words, this one has {0} bytes")]
    Ragged(usize),
    #[error("the stream of {0} bytes is cut short")]
    CutShort(usize),
    #[error("block type 3 does not exist")]
    BlockType,
    #[error(transparent)]
    Code(#[from] huffman::Fault),
    #[error("code lengths repeat the one before the first")]
    RepeatsNothing,
    #[error("more than the announced {0} code lengths")]
    TooManyLengths(usize),
    #[error("bits that are no code")]
    NoCode,
    #[error("a match goes back {0} bytes")]
    DistanceTooFar(usize),
    #[error("a piece of {0} bytes does not fit")]
    TooLong(usize),
    #[error("more blocks than the output can be in")]
    TooManyBlocks,
    #[error("the stream ends")]
    TooShort,
}

fn decode(chunk: &[u8], output: &mut Output<'_>) -> Result<(), Damage> {
    let (words, rest) = chunk.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(Damage::Ragged(chunk.len()));
    }
    let mut lanes = Lanes::new(words)?;
    let mut table = Table::new();
    // Setting up the codes of a block costs far more than the bits that ask for it: blocks that
    // bring nothing would make a short chunk take long.
    let mut blocks_left = MIN_BLOCKS + output.bytes.len() / BYTES_PER_BLOCK;
    let mut holds_fixed = false;
    loop {
        blocks_left = blocks_left.checked_sub(1).ok_or(Damage::TooManyBlocks)?;
        let header = lanes.take(0, 3)?;
        match header >> 1 {
            0 => stored_block(&mut lanes, output)?,
            1 => {
                if !holds_fixed {
                    table.fill_fixed()?;
                    holds_fixed = true;
                }
                compressed_block(&mut lanes, &table, output)?;
            }
            2 => {
                holds_fixed = false;
                dynamic_codes(&mut lanes, &mut table)?;
                compressed_block(&mut lanes, &table, output)?;
            }
            _ => return Err(Damage::BlockType),
        }
        if header & 1 == 1 {
            break;
        }
    }
    if output.at < output.bytes.len() {
        return Err(Damage::TooShort);
    }
    Ok(())
}

fn stored_block(lanes: &mut Lanes<'_>, output: &mut Output<'_>) -> Result<(), Damage> {
    let len = lanes.take(0, 16)? as usize;
    let Some(block) = output.bytes.get_mut(output.at..output.at + len) else {
        return Err(Damage::TooLong(len));
    };
    for piece in block.chunks_mut(LANES) {
        lanes.take_bytes(piece)?;
    }
    output.at += len;
    Ok(())
}

fn compressed_block(
    lanes: &mut Lanes<'_>,
    table: &Table,
    output: &mut Output<'_>,
) -> Result<(), Damage> {
    let (mut first, mut second) = (Round::new(), Round::new());
    let (mut now, mut before) = (&mut first, &mut second);
    while !lanes.round(table, now)? {
        output.write(before, now)?;
        std::mem::swap(&mut now, &mut before);
    }
    output.write(before, now)?;
    lanes.distances(table, before, 0)?;
    output.write(now, before)
}

/// The bytes that have come out.
struct Output<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Output<'_> {
    /// Writes what one round decoded; the distances of its matches are in the next one.
    #[inline(never)]
    fn write(&mut self, round: &Round, next: &Round) -> Result<(), Damage> {
        let mut done = 0;
        for &[position, lane] in round.matches.iter().take(round.match_count) {
            let (position, lane) = (usize::from(position), usize::from(lane));
            self.literals(round, done, position)?;
            self.copy(round.value(lane), next.value(lane))?;
            done = position + 1;
        }
        self.literals(round, done, round.count)
    }

    /// Writes literals `from..to` of a round. What is written behind them is overwritten later.
    #[inline]
    fn literals(&mut self, round: &Round, from: usize, to: usize) -> Result<(), Damage> {
        let len = to.wrapping_sub(from);
        if let Some(room) = self.bytes.get_mut(self.at..self.at + LANES) {
            let source = &round.literals[from % LANES..][..LANES];
            room[..LANES / 2].copy_from_slice(&source[..LANES / 2]);
            if len > LANES / 2 {
                room[LANES / 2..].copy_from_slice(&source[LANES / 2..]);
            }
        } else if let Some(room) = self.bytes.get_mut(self.at..self.at + len) {
            room.copy_from_slice(&round.literals[from..to]);
        } else {
            return Err(Damage::TooLong(len));
        }
        self.at += len;
        Ok(())
    }

    /// Repeats `len` bytes from `distance` bytes back.
    #[inline]
    fn copy(&mut self, len: usize, distance: usize) -> Result<(), Damage> {
        let (at, limit) = (self.at, self.bytes.len());
        let end = at + len;
        if distance > at {
            return Err(Damage::DistanceTooFar(distance));
        }
        if end > limit {
            return Err(Damage::TooLong(len));
        }
        let from = at - distance;
        // Most matches are one copy of a constant width, which is no call.
        if distance >= WIDE && end + WIDE <= limit {
            self.copy_in_steps::<WIDE>(from, end);
        } else if distance >= NARROW && end + NARROW <= limit {
            self.copy_in_steps::<NARROW>(from, end);
        } else {
            self.copy_overlapping(from, end);
        }
        self.at = end;
        Ok(())
    }

    /// Fills up to `end`, and less than a step beyond, from at least a step back.
    #[inline]
    fn copy_in_steps<const STEP: usize>(&mut self, mut from: usize, end: usize) {
        let mut at = self.at;
        while at < end {
            self.bytes.copy_within(from..from + STEP, at);
            from += STEP;
            at += STEP;
        }
    }

    /// Fills up to `end` with the bytes from `from` on, again and again.
    fn copy_overlapping(&mut self, from: usize, end: usize) {
        let mut at = self.at;
        while at < end {
            let piece = (at - from).min(end - at);
            self.bytes.copy_within(from..from + piece, at);
            at += piece;
        }
    }
}

/// Reads the codes of a block of type 2.
fn dynamic_codes(lanes: &mut Lanes<'_>, table: &mut Table) -> Result<(), Damage> {
    let literal_count = lanes.take(0, 5)? as usize + 257;
    let distance_count = lanes.take(0, 5)? as usize + 1;
    let precode_count = lanes.take(0, 4)? as usize + 4;
    let mut precode = [0; PRECODE_ORDER.len()];
    for (lane, symbol) in PRECODE_ORDER.iter().enumerate().take(precode_count) {
        precode[usize::from(*symbol)] = lanes.take(lane, 3)? as u8;
    }
    table.fill_precode(&precode)?;

    let mut lengths = [0; LITERAL_COUNT + DISTANCE_COUNT];
    let lengths = &mut lengths[..literal_count + distance_count];
    let mut at = 0;
    for lane in (0..LANES).cycle() {
        if at == lengths.len() {
            break;
        }
        let bits = lanes.buffers[lane];
        let entry = table.precode(bits);
        if entry & UNUSUAL != 0 {
            return Err(Damage::NoCode);
        }
        lanes.consume(lane, bit_count(entry))?;
        let symbol = base(entry);
        let extra = (value(entry, bits as u32) - symbol) as usize;
        let (length, count) = match symbol {
            16 if at == 0 => return Err(Damage::RepeatsNothing),
            16 => (lengths[at - 1], 3 + extra),
            17 => (0, 3 + extra),
            18 => (0, 11 + extra),
            _ => (symbol as u8, 1),
        };
        let Some(run) = lengths.get_mut(at..at + count) else {
            return Err(Damage::TooManyLengths(lengths.len()));
        };
        run.fill(length);
        at += count;
    }
    let (literals, distances) = lengths.split_at(literal_count);
    Ok(table.fill(literals, distances)?)
}

/// What one round decoded.
struct Round {
    /// The table entries that the lanes found, and the bits that they had.
    entries: [u32; LANES],
    bits: [u32; LANES],
    /// Literals and lengths decoded.
    count: usize,
    /// The literals in output order, with a gap for every match; behind them, room to copy a full
    /// width from any of them.
    literals: [u8; 2 * LANES],
    match_count: usize,
    /// The place of each match among the literals, and its lane.
    matches: [[u8; 2]; LANES],
}

impl Round {
    const fn new() -> Self {
        Self {
            entries: [0; LANES],
            bits: [0; LANES],
            count: 0,
            literals: [0; 2 * LANES],
            match_count: 0,
            matches: [[0; 2]; LANES],
        }
    }

    /// The length or distance that a lane decoded.
    #[inline]
    fn value(&self, lane: usize) -> usize {
        value(self.entries[lane % LANES], self.bits[lane % LANES]) as usize
    }
}

/// The bit buffers of the lanes and the words that refill them.
struct Lanes<'a> {
    words: &'a [[u8; 4]],
    /// Index of the word that the next refill takes.
    next: usize,
    /// Lanes that hold zeros from behind the last word.
    past_end: u32,
    /// Between any two uses each buffer holds 32 to 63 bits, the next one lowest, and a 1 above
    /// them that marks how many they are.
    buffers: [u64; LANES],
    /// [`LENGTH`] for the lanes that are due for a distance, else 0.
    due: [u32; LANES],
}

/// The buffer with one more word, if it holds fewer than 32 bits; and whether it did.
#[inline]
fn refill(buffer: u64, word: [u8; 4]) -> (u64, bool) {
    let short = buffer < 1 << 32;
    let held = (buffer | 1).ilog2();
    // Takes the marker away at `held`, puts the word there and the marker behind it.
    let word_and_marker = u64::from(u32::from_le_bytes(word)) + u64::from(u32::MAX);
    let add = word_and_marker & u64::from(short).wrapping_neg();
    (buffer.wrapping_add(add.wrapping_shl(held)), short)
}

impl<'a> Lanes<'a> {
    fn new(words: &'a [[u8; 4]]) -> Result<Self, Damage> {
        let mut lanes = Self {
            words,
            next: 0,
            past_end: 0,
            buffers: [1; LANES],
            due: [0; LANES],
        };
        for lane in 0..LANES {
            lanes.consume(lane, 0)?;
        }
        Ok(lanes)
    }

    /// Drops `count` bits (at most 32) of one lane.
    fn consume(&mut self, lane: usize, count: u32) -> Result<(), Damage> {
        let word = self.words.get(self.next);
        let rest = self.buffers[lane] >> count;
        let (refilled, was_short) = refill(rest, word.copied().unwrap_or_default());
        self.buffers[lane] = refilled;
        if !was_short {
            return Ok(());
        }
        if word.is_some() {
            self.next += 1;
        } else if self.past_end >> lane & 1 == 0 {
            self.past_end |= 1 << lane;
        } else {
            return Err(Damage::CutShort(self.words.len() * 4));
        }
        Ok(())
    }

    /// The next `count` bits (at most 16) of one lane.
    fn take(&mut self, lane: usize, count: u32) -> Result<u32, Damage> {
        let value = self.buffers[lane] as u32 & ((1 << count) - 1);
        self.consume(lane, count)?;
        Ok(value)
    }

    /// One byte from each lane, from the first on.
    fn take_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Damage> {
        let window = self
            .words
            .get(self.next..)
            .and_then(<[_]>::first_chunk::<LANES>);
        let Some(window) = window else {
            for (lane, byte) in bytes.iter_mut().enumerate() {
                *byte = self.take(lane, 8)? as u8;
            }
            return Ok(());
        };
        let mut taken = 0;
        for (buffer, byte) in self.buffers.iter_mut().zip(bytes) {
            *byte = *buffer as u8;
            let (refilled, was_short) = refill(*buffer >> 8, window[taken % LANES]);
            *buffer = refilled;
            taken += usize::from(was_short);
        }
        self.next += taken;
        Ok(())
    }

    /// One symbol from every lane, a distance from those that are due for one, a literal or length
    /// from the others. True at the end of the block.
    #[inline(never)]
    fn round(&mut self, table: &Table, round: &mut Round) -> Result<bool, Damage> {
        round.count = 0;
        round.match_count = 0;
        let mut lane = 0;
        let window = self
            .words
            .get(self.next..)
            .and_then(<[_]>::first_chunk::<LANES>);
        if let Some(window) = window {
            let (mut taken, mut count, mut match_count) = (0_usize, 0_usize, 0_usize);
            while lane < LANES {
                let buffer = self.buffers[lane];
                let due = self.due[lane];
                let mut entry = table.first(buffer, due);
                if entry & UNUSUAL != 0 {
                    entry = table.second(entry, buffer);
                    if entry & UNUSUAL != 0 {
                        break;
                    }
                }
                let rest = buffer >> bit_count(entry);
                let (refilled, was_short) = refill(rest, window[taken % LANES]);
                self.buffers[lane] = refilled;
                taken = taken.wrapping_add(usize::from(was_short));

                round.entries[lane] = entry;
                round.bits[lane] = buffer as u32;
                round.literals[count % LANES] = base(entry) as u8;
                round.matches[match_count % LANES] = [count as u8, lane as u8];
                self.due[lane] = entry & LENGTH;
                count = count.wrapping_add(usize::from(due == 0));
                match_count = match_count.wrapping_add(usize::from(entry & LENGTH != 0));
                lane += 1;
            }
            self.next += taken;
            round.count = count;
            round.match_count = match_count;
            if lane == LANES {
                return Ok(false);
            }
        }
        self.rest_of_round(table, round, lane)
    }

    /// What [`Self::round`] does, from `lane` on, for any symbol and up to the last word.
    #[inline(never)]
    fn rest_of_round(
        &mut self,
        table: &Table,
        round: &mut Round,
        lane: usize,
    ) -> Result<bool, Damage> {
        for lane in lane..LANES {
            let entry = self.symbol(table, round, lane)?;
            if entry & END != 0 {
                self.distances(table, round, lane)?;
                return Ok(true);
            }
            let was_due = self.due[lane] != 0;
            self.due[lane] = entry & LENGTH;
            if was_due {
                continue;
            }
            round.literals[round.count] = base(entry) as u8;
            if entry & LENGTH != 0 {
                round.matches[round.match_count] = [round.count as u8, lane as u8];
                round.match_count += 1;
            }
            round.count += 1;
        }
        Ok(false)
    }

    /// The distances that lanes from `lane` on are due for, and nothing from the others.
    fn distances(&mut self, table: &Table, round: &mut Round, lane: usize) -> Result<(), Damage> {
        for lane in lane..LANES {
            if self.due[lane] != 0 {
                self.symbol(table, round, lane)?;
                self.due[lane] = 0;
            }
        }
        Ok(())
    }

    /// Decodes one symbol of one lane.
    fn symbol(&mut self, table: &Table, round: &mut Round, lane: usize) -> Result<u32, Damage> {
        let buffer = self.buffers[lane];
        let entry = table.second(table.first(buffer, self.due[lane]), buffer);
        if entry & INVALID != 0 {
            return Err(Damage::NoCode);
        }
        self.consume(lane, bit_count(entry))?;
        round.entries[lane] = entry;
        round.bits[lane] = buffer as u32;
        Ok(entry)
    }
}
