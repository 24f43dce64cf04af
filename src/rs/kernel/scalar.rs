//! Products by table, for CPUs without vectors and as the rule that all other kernels must agree
//! with.

use crate::rs::{field::NIBBLES, kernel::Job};

/// Outputs that one table serves: their products with one byte lie side by side in a word.
const ROWS: usize = 4;
/// Inputs whose tables are at hand at a time: 8 KiB of them.
const INPUTS: usize = 8;
/// Columns from which on it pays to make tables.
const TABLES_FROM: usize = 64;

type Table = [u32; 256];

/// As [`crate::rs::kernel::Kernel::dot`].
pub fn dot(job: &Job<'_>, outputs: &mut [&mut [u8]]) {
    if job.len < TABLES_FROM {
        return dot_few(job, 0, outputs);
    }
    let mut tables = [[0; 256]; INPUTS];
    for (tile, outputs) in outputs.chunks_mut(ROWS).enumerate() {
        for (group, inputs) in job.inputs.chunks(INPUTS).enumerate() {
            for (place, table) in tables.iter_mut().enumerate().take(inputs.len()) {
                *table = products(std::array::from_fn(|row| {
                    job.coefficient(tile * ROWS + row, group * INPUTS + place)
                }));
            }
            let keep = job.accumulate || group > 0;
            for at in 0..job.len {
                let bytes = inputs.iter().map(|input| input[job.start + at]);
                let word = bytes
                    .zip(&tables)
                    .fold(0, |word, (byte, table)| word ^ table[usize::from(byte)]);
                for (output, byte) in outputs.iter_mut().zip(word.to_le_bytes()) {
                    output[at] = byte ^ if keep { output[at] } else { 0 };
                }
            }
        }
    }
}

/// The columns of the job from `first` on, without tables.
pub fn dot_few(job: &Job<'_>, first: usize, outputs: &mut [&mut [u8]]) {
    for (row, output) in outputs.iter_mut().enumerate() {
        for (at, place) in output.iter_mut().enumerate().take(job.len).skip(first) {
            let mut sum = if job.accumulate { *place } else { 0 };
            for (column, input) in job.inputs.iter().enumerate() {
                let table = &NIBBLES[usize::from(job.coefficient(row, column))];
                let byte = usize::from(input[job.start + at]);
                sum ^= table[byte & 15] ^ table[16 + (byte >> 4)];
            }
            *place = sum;
        }
    }
}

/// The products of every byte with the coefficients, the first one in the lowest byte of the word.
fn products(coefficients: [u8; ROWS]) -> Table {
    let tables = coefficients.map(|coefficient| &NIBBLES[usize::from(coefficient)]);
    let word = |at: usize| u32::from_le_bytes(tables.map(|table| table[at]));
    let low: [u32; 16] = std::array::from_fn(word);
    let high: [u32; 16] = std::array::from_fn(|nibble| word(16 + nibble));
    std::array::from_fn(|byte| low[byte & 15] ^ high[byte >> 4])
}
