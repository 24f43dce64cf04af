//! Payloads piece by piece, for input of unknown length.
//!
//! A zstd compressor that is fed in any slices and then finished writes the bytes of the one-shot
//! call. A gzip compressor does not: zlib-rs streams, libdeflate does not, and both are gzip.
//! A decompressor reads frames and members one after another until the input ends, and gives out no
//! more per call than asked for, so that a bomb cannot fill the memory.

use flate2::{
    Compress as Deflate, Compression, Decompress as Inflate, FlushCompress, FlushDecompress, Status,
};
use libdeflater::Crc;
use zstd_safe::{
    CCtx, CParameter, DCtx, InBuffer, OutBuffer,
    zstd_sys::ZSTD_EndDirective::{self, ZSTD_e_continue, ZSTD_e_end},
};

use super::{dict::Dictionary, gzip_member};
use crate::{
    error::{Error, Result},
    pool::Cancel,
};

/// Output grows by this much at a time.
const STEP: usize = 128 << 10;

/// A compressor for one stream.
pub trait Compress: Send {
    /// Takes all of `src` and appends what is ready of the payload to `out`.
    fn compress(&mut self, src: &[u8], out: &mut Vec<u8>) -> Result<()>;

    /// Ends the payload.
    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()>;
}

/// A decompressor for frames or members that follow one another.
pub trait Decompress: Send {
    /// Reads from `src`, appends at most `max` bytes to `out`, returns how much of `src` was read.
    ///
    /// All of `src` is read, or `max` bytes were given out.
    fn decompress(&mut self, src: &[u8], out: &mut Vec<u8>, max: usize) -> Result<usize>;

    /// Did the input so far end where a frame or member ends?
    fn is_complete(&self) -> bool;

    /// The error for input that ends elsewhere.
    fn cut_short(&self) -> Error;
}

/// Takes what a decompressor still holds back, and fails if its input was cut short.
pub fn drain(
    decoder: &mut dyn Decompress,
    out: &mut Vec<u8>,
    limit: u64,
    codec: &'static str,
    cancel: &Cancel,
) -> Result<()> {
    loop {
        cancel.check()?;
        let before = out.len();
        decoder.decompress(&[], out, STEP)?;
        if out.len() as u64 > limit {
            return Err(Error::Bomb {
                codec,
                claimed: limit,
            });
        }
        if out.len() == before {
            break;
        }
    }
    if decoder.is_complete() {
        Ok(())
    } else {
        Err(decoder.cut_short())
    }
}

/// Both directions of the passthrough codec.
#[derive(Debug)]
pub struct Verbatim;

impl Compress for Verbatim {
    fn compress(&mut self, src: &[u8], out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(src);
        Ok(())
    }

    fn finish(&mut self, _: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }
}

impl Decompress for Verbatim {
    fn decompress(&mut self, src: &[u8], out: &mut Vec<u8>, max: usize) -> Result<usize> {
        let len = src.len().min(max);
        out.extend_from_slice(&src[..len]);
        Ok(len)
    }

    fn is_complete(&self) -> bool {
        true
    }

    fn cut_short(&self) -> Error {
        Error::decode("passthrough", "cut short")
    }
}

/// Compressor of the zstd codecs.
pub struct ZstdCompressor(CCtx<'static>);

impl ZstdCompressor {
    /// A compressor at `level`.
    pub fn new(level: i32, checksum: bool, dictionary: Option<&Dictionary>) -> Result<Self> {
        let mut cctx = CCtx::try_create().ok_or_else(no_memory)?;
        cctx.set_parameter(CParameter::CompressionLevel(level))
            .map_err(zstd_error)?;
        cctx.set_parameter(CParameter::ChecksumFlag(checksum))
            .map_err(zstd_error)?;
        if let Some(dictionary) = dictionary {
            cctx.load_dictionary(dictionary.bytes())
                .map_err(zstd_error)?;
        }
        Ok(Self(cctx))
    }

    fn step(&mut self, src: &[u8], out: &mut Vec<u8>, directive: ZSTD_EndDirective) -> Result<()> {
        let mut input = InBuffer::around(src);
        loop {
            out.reserve(STEP);
            let at = out.len();
            let mut output = OutBuffer::around_pos(out, at);
            let left = self
                .0
                .compress_stream2(&mut output, &mut input, directive)
                .map_err(zstd_error)?;
            let done = if directive == ZSTD_e_end {
                left == 0
            } else {
                input.pos() == src.len()
            };
            if done {
                return Ok(());
            }
        }
    }
}

impl Compress for ZstdCompressor {
    fn compress(&mut self, src: &[u8], out: &mut Vec<u8>) -> Result<()> {
        // Nothing given is nothing done: a first call without input would start a frame.
        if src.is_empty() {
            Ok(())
        } else {
            self.step(src, out, ZSTD_e_continue)
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.step(&[], out, ZSTD_e_end)
    }
}

/// Decompressor of the zstd codecs.
pub struct ZstdDecompressor {
    dctx: DCtx<'static>,
    complete: bool,
}

impl ZstdDecompressor {
    /// A decompressor, at the start of a stream.
    pub fn new(dictionary: Option<&Dictionary>) -> Result<Self> {
        let mut dctx = DCtx::try_create().ok_or_else(no_memory)?;
        if let Some(dictionary) = dictionary {
            dctx.load_dictionary(dictionary.bytes())
                .map_err(zstd_error)?;
        }
        Ok(Self {
            dctx,
            complete: false,
        })
    }
}

impl Decompress for ZstdDecompressor {
    fn decompress(&mut self, src: &[u8], out: &mut Vec<u8>, max: usize) -> Result<usize> {
        let end = out.len().saturating_add(max);
        let mut input = InBuffer::around(src);
        loop {
            let at = out.len();
            let room = (end - at).min(STEP);
            if room == 0 {
                return Ok(input.pos());
            }
            out.resize(at + room, 0);
            let before = input.pos();
            let mut output = OutBuffer::around_pos(out.as_mut_slice(), at);
            let result = self.dctx.decompress_stream(&mut output, &mut input);
            let written = output.pos() - at;
            out.truncate(at + written);
            let hint = result.map_err(zstd_error)?;
            if written > 0 || input.pos() > before {
                self.complete = hint == 0;
            }
            // Output that fills its room may have more behind it.
            if input.pos() == src.len() && written < room {
                return Ok(input.pos());
            }
        }
    }

    fn is_complete(&self) -> bool {
        self.complete
    }

    fn cut_short(&self) -> Error {
        Error::decode("cpu-zstd", "incomplete frame")
    }
}

/// Compressor of the gzip codec: one member.
pub struct GzipCompressor {
    deflate: Deflate,
    crc: Crc,
    len: u32,
    header: Option<[u8; gzip_member::HEADER_LEN]>,
}

impl GzipCompressor {
    /// A compressor at `level` (0 to 9).
    #[must_use]
    pub fn new(level: u32) -> Self {
        Self {
            deflate: Deflate::new(Compression::new(level), false),
            crc: Crc::new(),
            len: 0,
            header: Some(gzip_member::header(level)),
        }
    }

    fn step(&mut self, mut src: &[u8], out: &mut Vec<u8>, flush: FlushCompress) -> Result<()> {
        out.extend(self.header.take().into_iter().flatten());
        loop {
            out.reserve(STEP);
            let (read, written) = (self.deflate.total_in(), out.len());
            let status = self
                .deflate
                .compress_vec(src, out, flush)
                .map_err(|error| Error::Backend(format!("deflate: {error}")))?;
            src = &src[(self.deflate.total_in() - read) as usize..];
            let idle = src.is_empty() && out.len() == written;
            if status == Status::StreamEnd
                || (flush == FlushCompress::None && (src.is_empty() || idle))
            {
                return Ok(());
            }
        }
    }
}

impl Compress for GzipCompressor {
    fn compress(&mut self, src: &[u8], out: &mut Vec<u8>) -> Result<()> {
        self.crc.update(src);
        // The trailer holds the length modulo 2^32.
        self.len = self.len.wrapping_add(src.len() as u32);
        self.step(src, out, FlushCompress::None)
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.step(&[], out, FlushCompress::Finish)?;
        out.extend(gzip_member::trailer(self.crc.sum(), self.len));
        Ok(())
    }
}

/// Decompressor of the gzip codec: all members.
pub struct GzipDecompressor {
    inflate: Inflate,
    state: GzipState,
}

#[derive(PartialEq, Eq)]
enum GzipState {
    Start,
    Inside,
    Between,
    /// Zeros behind the last member, as tapes and block devices leave them.
    Padding,
}

impl GzipDecompressor {
    /// A decompressor, at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self {
            inflate: Inflate::new_gzip(15),
            state: GzipState::Start,
        }
    }

    /// A decompressor for what follows a member.
    #[must_use]
    pub fn behind_a_member() -> Self {
        Self {
            inflate: Inflate::new_gzip(15),
            state: GzipState::Between,
        }
    }

    /// Steps over zeros behind a member; returns how many there are.
    fn skip_padding(&mut self, src: &[u8]) -> Result<usize> {
        let zeros = src.iter().take_while(|&&byte| byte == 0).count();
        if zeros > 0 {
            self.state = GzipState::Padding;
        }
        if self.state == GzipState::Padding && zeros < src.len() {
            return Err(Error::decode(
                "cpu-gzip",
                "bytes follow the padding behind the last member",
            ));
        }
        Ok(zeros)
    }
}

impl Default for GzipDecompressor {
    fn default() -> Self {
        Self::new()
    }
}

impl Decompress for GzipDecompressor {
    fn decompress(&mut self, src: &[u8], out: &mut Vec<u8>, max: usize) -> Result<usize> {
        let end = out.len().saturating_add(max);
        let mut at = 0;
        loop {
            if matches!(self.state, GzipState::Between | GzipState::Padding) {
                at += self.skip_padding(&src[at..])?;
            }
            let start = out.len();
            let room = (end - start).min(STEP);
            if room == 0 || (at == src.len() && self.state != GzipState::Inside) {
                return Ok(at);
            }
            if self.state == GzipState::Between {
                self.inflate = Inflate::new_gzip(15);
            }
            self.state = GzipState::Inside;
            out.resize(start + room, 0);
            let before = (self.inflate.total_in(), self.inflate.total_out());
            let status =
                self.inflate
                    .decompress(&src[at..], &mut out[start..], FlushDecompress::None);
            let written = (self.inflate.total_out() - before.1) as usize;
            out.truncate(start + written);
            at += (self.inflate.total_in() - before.0) as usize;
            match status {
                Ok(Status::StreamEnd) => self.state = GzipState::Between,
                Ok(_) if at == src.len() && written < room => return Ok(at),
                Ok(Status::BufError) if written == 0 => return Ok(at),
                Ok(_) => {}
                Err(error) => {
                    let detail = error
                        .message()
                        .map_or_else(|| error.to_string(), str::to_owned);
                    return Err(Error::decode("cpu-gzip", detail));
                }
            }
        }
    }

    fn is_complete(&self) -> bool {
        matches!(self.state, GzipState::Between | GzipState::Padding)
    }

    fn cut_short(&self) -> Error {
        Error::decode("cpu-gzip", "incomplete member")
    }
}

fn no_memory() -> Error {
    Error::Backend("no memory for a zstd context".into())
}

fn zstd_error(code: usize) -> Error {
    Error::decode("cpu-zstd", super::zstd::describe(code))
}
