//! From messages to the kernel that suits their number.
#![expect(
    unsafe_code,
    reason = "kernels need instructions that not every CPU has, and read blocks by pointer"
)]

use std::{array, ptr, slice};

use super::{
    BLOCK_LEN, INITIAL, Schedule, State,
    kernel::Kernel,
    lanes,
    padding::{Ending, pad},
    to_digest,
};
use crate::hash::{Digest, vector::MAX_LANES};

#[cfg(target_arch = "aarch64")]
use super::arm;
#[cfg(target_arch = "x86_64")]
use {super::shani, crate::hash::vector::Places};

/// Messages that the SHA instructions take at most: with four there are not enough registers.
pub(super) const MAX_NARROW: usize = 3;

/// How few messages are computed.
#[derive(Debug, Clone, Copy)]
enum Narrow {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    ShaNi,
    #[cfg(target_arch = "aarch64")]
    ArmSha2,
}

/// How many messages are computed.
#[derive(Debug, Clone, Copy)]
enum Wide {
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// Kernels that this CPU has: a value is proof of that.
#[derive(Debug, Clone, Copy)]
pub(super) struct Engine {
    narrow: Narrow,
    wide: Option<Wide>,
    /// From how many messages on the wide kernel wins.
    wide_from: usize,
    /// How many messages the wide kernel takes.
    lanes: usize,
}

impl Engine {
    /// The engine around a kernel, or the scalar one if the kernel is not available.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn new(kernel: Kernel) -> Self {
        let available = kernel.available();
        let narrow = match kernel {
            Kernel::ShaNi | Kernel::Avx512 if Kernel::ShaNi.available() => Narrow::ShaNi,
            Kernel::Avx2 | Kernel::Avx512 if available => Narrow::Avx2,
            _ => Narrow::Scalar,
        };
        let (wide, wide_from, lanes) = match (kernel, narrow) {
            (Kernel::Avx512, Narrow::ShaNi) if available => (Some(Wide::Avx512), 9, 16),
            (Kernel::Avx512, Narrow::Avx2) => (Some(Wide::Avx512), 3, 16),
            (Kernel::Avx2, Narrow::Avx2) => (Some(Wide::Avx2), 4, 8),
            _ => (None, usize::MAX, 0),
        };
        Self {
            narrow,
            wide,
            wide_from,
            lanes,
        }
    }

    /// The engine around a kernel, or the scalar one if the kernel is not available.
    #[cfg(target_arch = "aarch64")]
    pub(super) fn new(kernel: Kernel) -> Self {
        let narrow = match kernel {
            Kernel::ArmSha2 if kernel.available() => Narrow::ArmSha2,
            _ => Narrow::Scalar,
        };
        Self {
            narrow,
            wide: None,
            wide_from: usize::MAX,
            lanes: 0,
        }
    }

    /// The engine around the scalar kernel: there is no other here.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub(super) fn new(_: Kernel) -> Self {
        Self {
            narrow: Narrow::Scalar,
            wide: None,
            wide_from: usize::MAX,
            lanes: 0,
        }
    }

    /// How many of `active` messages advance together in the next step.
    pub(super) fn width(self, active: usize) -> usize {
        if self.wide.is_some() && active >= self.wide_from {
            return active.min(self.lanes);
        }
        match self.narrow {
            Narrow::Scalar => active.min(1),
            #[cfg(target_arch = "x86_64")]
            Narrow::Avx2 => active.min(1),
            // Two and two are faster than three and one.
            #[cfg(target_arch = "x86_64")]
            Narrow::ShaNi if active == 4 => 2,
            #[cfg(target_arch = "x86_64")]
            Narrow::ShaNi => active.min(MAX_NARROW),
            #[cfg(target_arch = "aarch64")]
            Narrow::ArmSha2 => active.min(2),
        }
    }

    /// The digest of one message.
    pub(super) fn digest(self, message: &[u8]) -> Digest {
        let (blocks, rest) = message.split_at(message.len() - message.len() % BLOCK_LEN);
        let mut state = INITIAL;
        self.compress(&mut state, blocks);
        let mut tail = [0; 2 * BLOCK_LEN];
        let end = pad(&mut tail, rest, message.len() as u64);
        self.compress(&mut state, &tail[..end]);
        to_digest(&state)
    }

    /// Takes whole blocks of one message in.
    pub(super) fn compress(self, state: &mut State, blocks: &[u8]) {
        self.advance(slice::from_mut(state), &[blocks]);
    }

    /// Takes as many blocks of each message in as all of them have; returns how many that is.
    ///
    /// There is one state for each message, and [`Engine::width`] has said how many.
    pub(super) fn advance(self, states: &mut [State], sources: &[&[u8]]) -> usize {
        let shortest = sources.iter().map(|source| source.len()).min();
        let count = shortest.unwrap_or(0) / BLOCK_LEN;
        match self.wide {
            Some(wide) if sources.len() >= self.wide_from => wide.advance(states, sources, count),
            _ => self.narrow.advance(states, sources, count),
        }
        count
    }

    /// The digests of messages of one length, as many as [`Engine::width`] says.
    ///
    /// # Safety
    /// Each message is as long as `ending` says.
    pub(super) unsafe fn digest_equal(
        self,
        messages: &[&[u8]],
        ending: &Ending,
        digests: &mut [Digest],
    ) {
        match self.wide {
            // SAFETY: the caller has promised it.
            Some(wide) if messages.len() >= self.wide_from => unsafe {
                wide.digest_equal(messages, ending, digests);
            },
            _ => self.digest_few(messages, ending, digests),
        }
    }

    fn digest_few(self, messages: &[&[u8]], ending: &Ending, digests: &mut [Digest]) {
        let mut states = [INITIAL; MAX_NARROW];
        let mut blocks = [ending.block; MAX_NARROW];
        let width = messages.len().min(MAX_NARROW);
        let states = &mut states[..width];
        if ending.body > 0 {
            let mut sources: [&[u8]; MAX_NARROW] = [&[]; MAX_NARROW];
            for (source, message) in sources.iter_mut().zip(messages) {
                *source = &message[..ending.body];
            }
            self.advance(states, &sources[..width]);
        }
        if ending.rest > 0 {
            for (block, message) in blocks.iter_mut().zip(messages) {
                block[..ending.rest].copy_from_slice(&message[ending.body..]);
            }
            let sources = blocks.each_ref().map(|block| &block[..]);
            self.advance(states, &sources[..width]);
        }
        if let Some(schedule) = &ending.shared {
            self.narrow.advance_shared(states, schedule);
        }
        for (digest, state) in digests.iter_mut().zip(states) {
            *digest = to_digest(state);
        }
    }
}

impl Narrow {
    /// Each source has at least `count` blocks.
    fn advance(self, states: &mut [State], sources: &[&[u8]], count: usize) {
        match self {
            Self::Scalar => {
                for (state, source) in states.iter_mut().zip(sources) {
                    let places = [ptr::from_mut(state).cast(); MAX_LANES];
                    let pointers = [source.as_ptr(); MAX_LANES];
                    // SAFETY: plain registers; the caller has made sure of the blocks.
                    unsafe { lanes::compress::<u32>(&places, &pointers, count) };
                }
            }
            #[cfg(target_arch = "x86_64")]
            // A few blocks leave too many lanes of the schedule empty.
            Self::Avx2 if count < 3 => Self::Scalar.advance(states, sources, count),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                for (state, source) in states.iter_mut().zip(sources) {
                    // SAFETY: the engine has made sure of the instructions, its caller of the
                    // blocks.
                    unsafe { lanes::compress_one_avx2(state, source.as_ptr(), count) };
                }
            }
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the engine has made sure of the instructions, its caller of the blocks.
            Self::ShaNi => unsafe {
                match states {
                    [first, second, third] => {
                        shani::compress([first, second, third], pointers(sources), count);
                    }
                    [first, second] => shani::compress([first, second], pointers(sources), count),
                    states => {
                        for (state, source) in states.iter_mut().zip(sources) {
                            shani::compress([state], [source.as_ptr()], count);
                        }
                    }
                }
            },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: the engine has made sure of the instructions, its caller of the blocks.
            Self::ArmSha2 => unsafe {
                match states {
                    [first, second] => arm::compress([first, second], pointers(sources), count),
                    states => {
                        for (state, source) in states.iter_mut().zip(sources) {
                            arm::compress([state], [source.as_ptr()], count);
                        }
                    }
                }
            },
        }
    }

    fn advance_shared(self, states: &mut [State], schedule: &Schedule) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Self::Scalar.advance_shared(states, schedule),
            Self::Scalar => {
                for state in states {
                    let place = ptr::from_mut(state).cast();
                    // SAFETY: plain registers, and one state.
                    unsafe { lanes::compress_shared::<u32>(&[place; MAX_LANES], schedule) };
                }
            }
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the engine has made sure of the instructions.
            Self::ShaNi => unsafe {
                match states {
                    [first, second, third] => {
                        shani::compress_shared([first, second, third], schedule);
                    }
                    [first, second] => shani::compress_shared([first, second], schedule),
                    states => {
                        for state in states {
                            shani::compress_shared([state], schedule);
                        }
                    }
                }
            },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: the engine has made sure of the instructions.
            Self::ArmSha2 => unsafe {
                match states {
                    [first, second] => arm::compress_shared([first, second], schedule),
                    states => {
                        for state in states {
                            arm::compress_shared([state], schedule);
                        }
                    }
                }
            },
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Wide {
    /// Each source has at least `count` blocks; there are not more of them than lanes.
    fn advance(self, states: &mut [State], sources: &[&[u8]], count: usize) {
        let mut spare = State::default();
        let places = places(states, &mut spare);
        let mut pointers = [ptr::null(); MAX_LANES];
        for (lane, pointer) in pointers.iter_mut().enumerate() {
            // A lane that nobody is in computes the first message once more, into the spare state.
            *pointer = sources.get(lane).unwrap_or(&sources[0]).as_ptr();
        }
        // SAFETY: the engine has made sure of the instructions, its caller of the blocks; each lane
        // has a state.
        unsafe {
            match self {
                Self::Avx2 => lanes::compress_avx2(&places, &pointers, count),
                Self::Avx512 => lanes::compress_avx512(&places, &pointers, count),
            }
        }
    }

    /// # Safety
    /// Each message is as long as `ending` says; there is at least one.
    unsafe fn digest_equal(self, messages: &[&[u8]], ending: &Ending, digests: &mut [Digest]) {
        let mut spare = [0; 32];
        let mut places = [spare.as_mut_ptr(); MAX_LANES];
        let mut pointers = [messages[0].as_ptr(); MAX_LANES];
        for (pointer, message) in pointers.iter_mut().zip(messages) {
            *pointer = message.as_ptr();
        }
        for (place, digest) in places.iter_mut().zip(digests) {
            *place = digest.as_mut_ptr();
        }
        // SAFETY: the engine has made sure of the instructions, its caller of the messages.
        unsafe {
            match self {
                Self::Avx2 => lanes::digest_equal_avx2(&pointers, ending, &places),
                Self::Avx512 => lanes::digest_equal_avx512(&pointers, ending, &places),
            }
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl Wide {
    fn advance(self, _: &mut [State], _: &[&[u8]], _: usize) {
        match self {}
    }

    unsafe fn digest_equal(self, _: &[&[u8]], _: &Ending, _: &mut [Digest]) {
        match self {}
    }
}

/// Where the messages are, as many as the kernel takes.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn pointers<const N: usize>(sources: &[&[u8]]) -> [*const u8; N] {
    array::from_fn(|at| sources[at].as_ptr())
}

/// The state of each lane; lanes without one share the spare state.
#[cfg(target_arch = "x86_64")]
fn places(states: &mut [State], spare: &mut State) -> Places {
    let mut places = [ptr::from_mut(spare).cast(); MAX_LANES];
    for (place, state) in places.iter_mut().zip(states) {
        *place = ptr::from_mut(state).cast();
    }
    places
}
