//! How a message ends: FIPS 180-4, 5.1.1.

use super::{BLOCK_LEN, ROUND_CONSTANTS, Schedule};

/// From this place on the last block holds the length of the message in bits.
const LENGTH_AT: usize = 56;
/// The byte after the message.
const MARK: u8 = 0x80;

/// The one or two blocks that end a message.
pub(super) type Tail = [u8; 2 * BLOCK_LEN];

/// Makes the blocks that end a message of `len` bytes whose last, unfinished block is `rest`;
/// returns where they end.
pub(super) fn pad(tail: &mut Tail, rest: &[u8], len: u64) -> usize {
    tail.fill(0);
    tail[..rest.len()].copy_from_slice(rest);
    tail[rest.len()] = MARK;
    let end = if rest.len() < LENGTH_AT {
        BLOCK_LEN
    } else {
        2 * BLOCK_LEN
    };
    tail[end - 8..end].copy_from_slice(&bits(len));
    end
}

/// How all messages of one length end.
pub(super) struct Ending {
    /// Bytes of a message in whole blocks.
    pub(super) body: usize,
    /// Bytes after those.
    pub(super) rest: usize,
    /// The block that those bytes are the start of, if there are any.
    pub(super) block: [u8; BLOCK_LEN],
    /// The block after that, if there is one: it is the same for all.
    pub(super) shared: Option<Schedule>,
}

impl Ending {
    pub(super) fn new(len: usize) -> Self {
        let rest = len % BLOCK_LEN;
        let mut block = [0; BLOCK_LEN];
        block[rest] = MARK;
        let mut shared = None;
        if rest == 0 || rest >= LENGTH_AT {
            let mut last = if rest == 0 { block } else { [0; BLOCK_LEN] };
            last[LENGTH_AT..].copy_from_slice(&bits(len as u64));
            shared = Some(schedule(&last));
        } else {
            block[LENGTH_AT..].copy_from_slice(&bits(len as u64));
        }
        Self {
            body: len - rest,
            rest,
            block,
            shared,
        }
    }
}

fn bits(len: u64) -> [u8; 8] {
    len.wrapping_mul(8).to_be_bytes()
}

/// FIPS 180-4, 6.2.2, step 1, with the constants of the rounds added.
fn schedule(block: &[u8; BLOCK_LEN]) -> Schedule {
    let mut words = [0_u32; 64];
    for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
        *word = bytes
            .iter()
            .fold(0, |word, byte| word << 8 | u32::from(*byte));
    }
    for at in 16..64 {
        let (near, far) = (words[at - 15], words[at - 2]);
        let near = near.rotate_right(7) ^ near.rotate_right(18) ^ near >> 3;
        let far = far.rotate_right(17) ^ far.rotate_right(19) ^ far >> 10;
        words[at] = words[at - 16]
            .wrapping_add(near)
            .wrapping_add(words[at - 7])
            .wrapping_add(far);
    }
    for (word, constant) in words.iter_mut().zip(ROUND_CONSTANTS) {
        *word = word.wrapping_add(constant);
    }
    words
}
