//! zlib-rs by its full interface: stopping between blocks, starting in the middle of a byte.
//!
//! flate2, which everything else here uses, has no calls for either.

#![expect(
    unsafe_code,
    reason = "C interface of a library that is written in Rust"
)]

use std::ffi::CStr;

use libz_rs_sys as z;

use crate::error::{Error, Result};

/// The furthest that deflate looks back, in bytes.
pub const WINDOW_LEN: usize = 32 << 10;

const NAME: &str = "cpu-gzip";

/// What surrounds the deflate stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrap {
    /// Nothing: from the start of a block on.
    Raw,
    /// The header and the trailer of a gzip member, which are checked.
    Gzip,
}

impl Wrap {
    const fn window_bits(self) -> i32 {
        match self {
            Self::Raw => -15,
            Self::Gzip => 16 + 15,
        }
    }
}

/// How far a step has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Bytes of input that were read.
    pub read: usize,
    /// Bytes of output that were written.
    pub written: usize,
    /// Why it stopped.
    pub stop: Stop,
}

/// Why a step stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The input is used up or the output full.
    Room,
    /// A block begins, in the last byte that was read if `spare_bits` are left of it.
    Block {
        /// Bits of that byte that belong to the block, 0 to 7.
        spare_bits: u8,
    },
    /// The stream ended, with its trailer if it has one.
    End,
}

/// A decoder of deflate streams.
pub struct Inflate(Box<z::z_stream>);

// SAFETY: the stream owns all it points to between two calls: its state, which no other thread
// knows, and a message with static lifetime. Input and output are set anew by every call.
unsafe impl Send for Inflate {}

impl Inflate {
    /// A decoder at the start of a stream.
    pub fn new(wrap: Wrap) -> Result<Self> {
        let mut stream = Box::<z::z_stream>::default();
        let size = const { size_of::<z::z_stream>() as u32 }.cast_signed();
        // SAFETY: the stream is a valid one, and the size and version are those of the library that
        // is linked.
        let code = unsafe {
            z::inflateInit2_(&raw mut *stream, wrap.window_bits(), z::zlibVersion(), size)
        };
        if code == z::Z_OK {
            Ok(Self(stream))
        } else {
            Err(Error::Backend("no memory for a deflate decoder".into()))
        }
    }

    /// A decoder of what follows `window`, from the `bits` highest bits of `byte` on.
    pub fn inside(window: &[u8], byte: u8, bits: u8) -> Result<Self> {
        let mut inflate = Self::new(Wrap::Raw)?;
        let window = &window[window.len().saturating_sub(WINDOW_LEN)..];
        let bits = bits.min(7);
        // SAFETY: the stream was initialised by `new`; the window is given with its true length.
        let codes = unsafe {
            let stream = &raw mut *inflate.0;
            [
                z::inflateSetDictionary(stream, window.as_ptr(), window.len() as u32),
                z::inflatePrime(stream, i32::from(bits), i32::from(byte) >> (8 - bits)),
            ]
        };
        if codes == [z::Z_OK; 2] {
            Ok(inflate)
        } else {
            Err(Error::Backend(
                "the deflate decoder refused its start".into(),
            ))
        }
    }

    /// Goes to the start of another stream.
    pub fn restart(&mut self, wrap: Wrap) -> Result<()> {
        // SAFETY: the stream was initialised by `new`.
        let code = unsafe { z::inflateReset2(&raw mut *self.0, wrap.window_bits()) };
        if code == z::Z_OK {
            Ok(())
        } else {
            Err(Error::Backend(
                "the deflate decoder cannot start again".into(),
            ))
        }
    }

    /// Decodes until the input is used up, the output is full, the stream ends or, if that is
    /// wanted, a block begins.
    pub fn step(&mut self, src: &[u8], dst: &mut [u8], stop_at_block: bool) -> Result<Step> {
        let stream = &mut *self.0;
        let (given, room) = (clamp(src.len()), clamp(dst.len()));
        stream.next_in = src.as_ptr();
        stream.avail_in = given;
        stream.next_out = dst.as_mut_ptr();
        stream.avail_out = room;
        let flush = if stop_at_block {
            z::Z_BLOCK
        } else {
            z::Z_NO_FLUSH
        };
        // SAFETY: the stream was initialised by `new`; input and output are slices that live during
        // the call, given with lengths that are no more than theirs.
        let code = unsafe { z::inflate(stream, flush) };
        let read = (given - stream.avail_in) as usize;
        let written = (room - stream.avail_out) as usize;
        let stop = match code {
            z::Z_OK => self.place(stop_at_block),
            // Nothing could be done; where it stands was told before.
            z::Z_BUF_ERROR => Stop::Room,
            z::Z_STREAM_END => Stop::End,
            _ => return Err(Error::decode(NAME, self.message())),
        };
        Ok(Step {
            read,
            written,
            stop,
        })
    }

    fn place(&self, stop_at_block: bool) -> Stop {
        // zlib.h, at inflate: 128 where a block was just ended, 64 inside of the last one, and in
        // the low bits how many bits of the last byte are unused.
        const ENDED: i32 = 128;
        const LAST: i32 = 64;
        let state = self.0.data_type;
        if stop_at_block && state & ENDED != 0 && state & LAST == 0 {
            Stop::Block {
                spare_bits: (state & 7).cast_unsigned() as u8,
            }
        } else {
            Stop::Room
        }
    }

    /// The bytes that blocks to come may refer to.
    pub fn window(&mut self) -> Vec<u8> {
        let mut window = vec![0; WINDOW_LEN];
        let mut len = 0;
        // SAFETY: the stream was initialised by `new`; there is room for the longest window.
        let code = unsafe {
            z::inflateGetDictionary(&raw const *self.0, window.as_mut_ptr(), &raw mut len)
        };
        window.truncate(if code == z::Z_OK { len as usize } else { 0 });
        window
    }

    fn message(&self) -> String {
        if self.0.msg.is_null() {
            return "damaged deflate stream".into();
        }
        // SAFETY: messages are static strings that end in a zero.
        let text = unsafe { CStr::from_ptr(self.0.msg) };
        text.to_string_lossy().into_owned()
    }
}

impl Drop for Inflate {
    fn drop(&mut self) {
        // SAFETY: the stream was initialised by `new` and is ended once.
        unsafe { z::inflateEnd(&raw mut *self.0) };
    }
}

fn clamp(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
