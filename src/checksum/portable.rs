//! CRC32C from tables, 16 bytes at a time.
//!
//! After Kounavis and Berry, "A Systematic Approach to Building High Performance, Software-based,
//! CRC Generators" (2005): the bytes of a block are looked up independently of each other, each in
//! the table for the number of bytes behind it.

use super::polynomial::times_x;

const BLOCK: usize = 16;

/// `TABLES[behind][byte]`: the state after `byte` and `behind` zero bytes, from the state 0.
static TABLES: [[u32; 256]; BLOCK] = {
    let mut tables = [[0; 256]; BLOCK];
    let mut byte = 0;
    while byte < 256 {
        let mut state = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            state = times_x(state);
            bit += 1;
        }
        tables[0][byte] = state;
        byte += 1;
    }
    let mut behind = 1;
    while behind < BLOCK {
        let mut byte = 0;
        while byte < 256 {
            let state: u32 = tables[behind - 1][byte];
            tables[behind][byte] = (state >> 8) ^ tables[0][(state & 0xFF) as usize];
            byte += 1;
        }
        behind += 1;
    }
    tables
};

/// The state after `data`.
pub fn update(data: &[u8], mut state: u32) -> u32 {
    let (blocks, rest) = data.as_chunks::<BLOCK>();
    for block in blocks {
        let both = u128::from_le_bytes(*block);
        let (first, second) = (both as u64, (both >> 64) as u64);
        state = look_up(first ^ u64::from(state), 8) ^ look_up(second, 0);
    }
    rest.iter().fold(state, |state, byte| {
        (state >> 8) ^ TABLES[0][usize::from(state as u8 ^ byte)]
    })
}

/// The state after eight more bytes, the first of them lowest.
pub fn word(state: u32, word: u64) -> u32 {
    look_up(word ^ u64::from(state), 0)
}

/// The state after eight bytes and `behind` zero bytes, from the state 0.
fn look_up(word: u64, behind: usize) -> u32 {
    let bytes = word.to_le_bytes();
    let places = bytes.iter().rev().zip(&TABLES[behind..]);
    places.fold(0, |state, (byte, table)| state ^ table[usize::from(*byte)])
}
