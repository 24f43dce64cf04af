//! Many messages in few lanes: a lane whose message has ended takes the next one.

use std::{array, slice};

use crate::hash::Digest;

use super::{
    Block, Padding, RATE,
    permutation::{self, EMPTY, State, WORDS},
};

/// Messages to be hashed, those under way included.
pub(super) struct Batch<'a> {
    padding: Padding,
    messages: &'a [&'a [u8]],
    digests: &'a mut [Digest],
    /// Number of the message that starts next.
    next: usize,
    /// Messages that a run left unfinished, with their states.
    unfinished: Vec<(Message<'a>, State<1>)>,
}

/// A message under way.
#[derive(Clone, Copy)]
struct Message<'a> {
    number: usize,
    /// Whole blocks still to come.
    blocks: &'a [Block],
    /// What comes after them, less than a block.
    rest: &'a [u8],
}

/// Vectors are loaded and stored faster if they cross no cache line.
#[repr(align(64))]
struct Aligned<T>(T);

impl<'a> Batch<'a> {
    /// Only the pairs that both slices have are made.
    pub(super) fn new(
        padding: Padding,
        messages: &'a [&'a [u8]],
        digests: &'a mut [Digest],
    ) -> Self {
        let len = messages.len().min(digests.len());
        Self {
            padding,
            messages: &messages[..len],
            digests: &mut digests[..len],
            next: 0,
            unfinished: Vec::new(),
        }
    }

    /// Goes on in `N` lanes until at most `few` messages are left.
    ///
    /// `absorb` takes blocks into the state of every lane, equally many into each.
    pub(super) fn run<const N: usize>(
        &mut self,
        few: usize,
        absorb: impl Fn(&mut State<N>, &[&[Block]; N]),
    ) {
        let mut state = Aligned([[0; N]; WORDS]);
        let mut lanes: [Option<Message<'a>>; N] = [None; N];
        let mut last = [[0; RATE]; N];
        loop {
            let busy = lanes.iter().flatten().count();
            if busy + self.unfinished.len() + self.messages.len() - self.next <= few {
                break;
            }
            if busy < N {
                self.refill(&mut lanes, &mut state.0, busy == 0);
            }
            let whole_blocks = lanes.iter().flatten().map(|message| message.blocks.len());
            let count = whole_blocks.min().unwrap_or(0);
            if count == 0 {
                for (lane, block) in lanes.iter().zip(&mut last) {
                    if let Some(Message {
                        blocks: [], rest, ..
                    }) = lane
                    {
                        self.padding.end(rest, block);
                    }
                }
            }
            let count = count.max(1);
            let next = |lane: Option<Message<'a>>| lane?.blocks.get(..count);
            // An idle lane does what another one does, and nobody looks at it.
            let any = lanes.into_iter().find_map(next);
            let blocks = array::from_fn(|number| {
                let own = next(lanes[number]);
                let idle = || any.filter(|_| lanes[number].is_none());
                own.or_else(idle).unwrap_or(slice::from_ref(&last[number]))
            });
            absorb(&mut state.0, &blocks);
            for (number, lane) in lanes.iter_mut().enumerate() {
                if let Some(message) = lane {
                    if let Some(blocks) = message.blocks.get(count..) {
                        message.blocks = blocks;
                    } else {
                        self.digests[message.number] = permutation::digest(&state.0, number);
                        *lane = None;
                    }
                }
            }
        }
        for (number, lane) in lanes.into_iter().enumerate() {
            let message = lane.map(|message| (message, state.0.map(|words| [words[number]])));
            self.unfinished.extend(message);
        }
    }

    /// Gives a message to every idle lane, as far as there are any.
    fn refill<const N: usize>(
        &mut self,
        lanes: &mut [Option<Message<'a>>; N],
        state: &mut State<N>,
        all_idle: bool,
    ) {
        if all_idle {
            *state = [[0; N]; WORDS];
        }
        for (number, lane) in lanes
            .iter_mut()
            .enumerate()
            .filter(|(_, lane)| lane.is_none())
        {
            let unfinished = self.unfinished.pop();
            let start = unfinished.as_ref().map_or(&EMPTY, |(_, state)| state);
            if unfinished.is_some() || !all_idle {
                for (words, [word]) in state.iter_mut().zip(start) {
                    words[number] = *word;
                }
            }
            *lane = unfinished
                .map(|(message, _)| message)
                .or_else(|| self.next_message());
        }
    }

    fn next_message(&mut self) -> Option<Message<'a>> {
        let (blocks, rest) = self.messages.get(self.next)?.as_chunks();
        let message = Message {
            number: self.next,
            blocks,
            rest,
        };
        self.next += 1;
        Some(message)
    }
}
