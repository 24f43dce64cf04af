//! Many messages at once: which one is in which lane.
#![expect(
    unsafe_code,
    reason = "messages of one length go unchecked from here on"
)]

use super::{
    BLOCK_LEN, INITIAL,
    engine::{Engine, MAX_NARROW},
    padding::{Ending, Tail, pad},
    to_digest,
};
use crate::hash::{Digest, vector::MAX_LANES};

/// As few messages of one length as pay for the schedule of their padding.
const EQUAL_FROM: usize = 8;

/// The digests of many messages.
///
/// Messages of one length that stand together keep step from start to end. Others take the lane of
/// one that is done.
pub(super) fn digest_many(engine: Engine, messages: &[&[u8]], digests: &mut [Digest]) {
    let len = messages.len().min(digests.len());
    let (messages, digests) = (&messages[..len], &mut digests[..len]);
    if let ([message], [digest]) = (messages, &mut *digests) {
        *digest = engine.digest(message);
    } else if engine.width(messages.len()) <= MAX_NARROW {
        fill_lanes::<MAX_NARROW>(engine, messages, digests);
    } else {
        fill_lanes::<MAX_LANES>(engine, messages, digests);
    }
}

fn fill_lanes<'a, const LANES: usize>(
    engine: Engine,
    messages: &[&'a [u8]],
    digests: &mut [Digest],
) {
    let full = engine.width(messages.len()).min(LANES);
    let mut states = [INITIAL; LANES];
    let mut lanes = [Lane::EMPTY; LANES];
    let (mut next, mut active) = (0, 0);
    // Starts the next message in a lane if there is one.
    let mut start = |lane: &mut Lane<'a>, digests: &mut [Digest]| {
        next += equal_lengths(engine, full, &messages[next..], &mut digests[next..]);
        let message = messages.get(next);
        message.map(|message| {
            lane.start(message, next);
            next += 1;
        })
    };
    while active < full && start(&mut lanes[active], digests).is_some() {
        active += 1;
    }
    while active > 0 {
        let width = engine.width(active);
        let mut sources: [&[u8]; LANES] = [&[]; LANES];
        for (source, lane) in sources[..width].iter_mut().zip(&lanes) {
            *source = lane.blocks();
        }
        let count = engine.advance(&mut states[..width], &sources[..width]);
        // From the last on: whoever moves to the place of one that is done was looked at before.
        for at in (0..width).rev() {
            if lanes[at].skip(count) {
                let state = std::mem::replace(&mut states[at], INITIAL);
                digests[lanes[at].index] = to_digest(&state);
                if start(&mut lanes[at], digests).is_none() {
                    active -= 1;
                    lanes.swap(at, active);
                    states.swap(at, active);
                }
            }
        }
    }
}

/// Digests the messages at the front that have one length, `width` at a time; returns how many.
fn equal_lengths(
    engine: Engine,
    width: usize,
    messages: &[&[u8]],
    digests: &mut [Digest],
) -> usize {
    let Some(len) = messages.first().map(|first| first.len()) else {
        return 0;
    };
    let enough = messages.len() >= EQUAL_FROM && messages[EQUAL_FROM - 1].len() == len;
    if !enough {
        return 0;
    }
    let other = messages.iter().position(|message| message.len() != len);
    let equal = other.unwrap_or(messages.len());
    let count = equal - equal % width;
    let ending = Ending::new(len);
    let groups = messages[..count].chunks_exact(width);
    for (messages, digests) in groups.zip(digests.chunks_exact_mut(width)) {
        // SAFETY: the first `equal` messages have that length.
        unsafe { engine.digest_equal(messages, &ending, digests) };
    }
    count
}

/// A message on its way.
#[derive(Clone, Copy)]
struct Lane<'a> {
    /// Its whole blocks, without those that were taken in.
    body: &'a [u8],
    /// What comes after them.
    tail: Tail,
    /// The part of the tail that was not taken in.
    left: (usize, usize),
    /// Its place among all messages.
    index: usize,
}

impl<'a> Lane<'a> {
    const EMPTY: Self = Self {
        body: &[],
        tail: [0; 2 * BLOCK_LEN],
        left: (0, 0),
        index: 0,
    };

    fn start(&mut self, message: &'a [u8], index: usize) {
        let (body, rest) = message.split_at(message.len() - message.len() % BLOCK_LEN);
        let end = pad(&mut self.tail, rest, message.len() as u64);
        (self.body, self.left, self.index) = (body, (0, end), index);
    }

    /// The blocks to take in next: at least one unless the message is done.
    fn blocks(&self) -> &[u8] {
        if self.body.is_empty() {
            &self.tail[self.left.0..self.left.1]
        } else {
            self.body
        }
    }

    /// Moves on by `count` of [`Lane::blocks`]; whether the message is done.
    fn skip(&mut self, count: usize) -> bool {
        if self.body.is_empty() {
            self.left.0 += count * BLOCK_LEN;
            self.left.0 == self.left.1
        } else {
            self.body = &self.body[count * BLOCK_LEN..];
            false
        }
    }
}
