//! Many short messages at once.
//!
//! A message of up to 1024 bytes is one chunk of up to 16 blocks. It waits with others of as many
//! blocks until there is one for each lane. Longer messages have chunks to fill the lanes with, which
//! the blake3 crate does.
#![expect(
    unsafe_code,
    reason = "kernels need instructions that not every CPU has"
)]

use super::{BLOCK_LEN, CHUNK_LEN, kernel::Kernel};
use crate::hash::{Digest, vector::MAX_LANES};

/// Blocks of a chunk.
const CHUNK_BLOCKS: usize = CHUNK_LEN / BLOCK_LEN;

/// The digests of many messages, by an available kernel.
///
/// # Safety
/// The kernel is available.
pub(super) unsafe fn digest_many(kernel: Kernel, messages: &[&[u8]], digests: &mut [Digest]) {
    let len = messages.len().min(digests.len());
    let (messages, digests) = (&messages[..len], &mut digests[..len]);
    let lanes = kernel.lanes();
    let mut queues = None;
    for start in (0..messages.len()).step_by(lanes) {
        let indices = start..messages.len().min(start + lanes);
        // Messages that stand together often are of one size: then nobody has to wait.
        if indices.len() >= kernel.worth()
            && let Some(blocks) = common_blocks(&messages[indices.clone()])
        {
            // SAFETY: the kernel is available; the messages have that many blocks.
            unsafe { kernel.digest_group(blocks, indices, messages, digests) };
            continue;
        }
        // Too few at the end, and nobody waits: no lanes for them.
        let alone = indices.len() < kernel.worth() && queues.is_none();
        for index in indices {
            let Some(blocks) = blocks(messages[index]).filter(|_| !alone) else {
                digests[index] = super::digest(messages[index]);
                continue;
            };
            let queue = &mut queues.get_or_insert([Queue::EMPTY; CHUNK_BLOCKS])[blocks - 1];
            if let Some(full) = queue.push(index, lanes) {
                // SAFETY: the kernel is available; this queue is for messages of that many blocks.
                unsafe { kernel.digest_group(blocks, full, messages, digests) };
            }
        }
    }
    for (queue, blocks) in queues.iter().flatten().zip(1..) {
        let indices = queue.indices();
        if indices.len() >= kernel.worth() {
            // SAFETY: the kernel is available; this queue is for messages of that many blocks.
            unsafe { kernel.digest_group(blocks, indices, messages, digests) };
        } else {
            for index in indices {
                digests[index] = super::digest(messages[index]);
            }
        }
    }
}

/// Messages of the same number of blocks that wait for each other, by their places among all.
#[derive(Clone, Copy)]
struct Queue {
    indices: [usize; MAX_LANES],
    len: usize,
}

impl Queue {
    const EMPTY: Self = Self {
        indices: [0; MAX_LANES],
        len: 0,
    };

    /// Appends a message; once there are `lanes` of them, all leave.
    fn push(&mut self, index: usize, lanes: usize) -> Option<impl Iterator<Item = usize> + use<>> {
        self.indices[self.len] = index;
        self.len += 1;
        (self.len == lanes).then(|| {
            self.len = 0;
            self.indices.into_iter().take(lanes)
        })
    }

    fn indices(&self) -> impl ExactSizeIterator<Item = usize> + use<> {
        self.indices.into_iter().take(self.len)
    }
}

/// Blocks of a message, one also of an empty one; of a message longer than a chunk none.
fn blocks(message: &[u8]) -> Option<usize> {
    (message.len() <= CHUNK_LEN).then(|| message.len().div_ceil(BLOCK_LEN).max(1))
}

/// Blocks of each message, if that is the same for all.
fn common_blocks(messages: &[&[u8]]) -> Option<usize> {
    let (first, rest) = messages.split_first()?;
    let count = blocks(first)?;
    let lens = match count {
        1 => 0..=BLOCK_LEN,
        _ => (count - 1) * BLOCK_LEN + 1..=count * BLOCK_LEN,
    };
    let same = rest.iter().all(|message| lens.contains(&message.len()));
    same.then_some(count)
}
