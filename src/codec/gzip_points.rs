//! Checkpoints in gzip files (RFC 1952) of any writer: places from which decoding can begin.
//!
//! A deflate stream refers to the 32 KiB before each byte, so that it can be entered wherever a block
//! begins by whoever knows those bytes. One sequential pass, which checks every CRC-32 and length on
//! its way, notes such places; later any of them gives what follows, without what lies before.
//! The idea is Mark Adler's (`examples/zran.c` of zlib).
//!
//! Of the window most is rarely referred to: for incompressible data next to nothing. Two more
//! decoders run over the 32 KiB behind a point, with windows whose bytes tell their positions; what
//! shows up in neither output is set to zero, and a table of such windows compresses well.

use super::{
    gzip_member,
    inflate::{Inflate, Step, Stop, WINDOW_LEN, Wrap},
    stream::Decompress,
};
use crate::{
    checksum::crc32c,
    error::{Error, Result},
    pool::Cancel,
};

/// Original bytes between two points unless the caller says otherwise.
pub const DEFAULT_SPAN: u64 = 1 << 20;

/// Members begin without a window, which makes them cheap points: they are taken this much closer.
const MEMBER_SHARE: u64 = 16;
/// Output grows by this much at a time.
const STEP: usize = 128 << 10;
/// Deflate cannot expand by more than this.
const MAX_RATIO: u64 = 1032;
const NAME: &str = "cpu-gzip";

/// A place in a gzip file from which decoding can begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// The stored byte in which it lies.
    pub stored: u64,
    /// Bits of that byte, from the lowest, that belong to what comes before, 0 to 7.
    pub bits: u8,
    /// The offset of the first original byte that follows.
    pub original: u64,
    /// Up to 32 KiB of original bytes before it; empty exactly where a member begins.
    pub window: Vec<u8>,
    /// CRC32C of the original bytes from the point before this one up to this one.
    pub crc32c_before: u32,
}

/// A decoder of all members of a gzip file that notes points on its way.
pub struct GzipIndexer {
    inflate: Inflate,
    state: State,
    span: u64,
    stored: u64,
    original: u64,
    // Where the last point was noted, in original bytes.
    noted: Option<u64>,
    // CRC32C of what came since then.
    crc32c: u32,
    // The last byte of input, in which a block may begin.
    last_byte: u8,
    trial: Option<Trial>,
    points: Vec<Point>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Inside,
    Between,
    /// Zeros behind the last member, as tapes and block devices leave them.
    Padding,
}

impl GzipIndexer {
    /// An indexer, at the start of a file, that notes a point about every `span` original bytes.
    ///
    /// # Errors
    /// [`Error::Argument`] for a span below 32 KiB, for which the windows would outweigh the data.
    pub fn new(span: u64) -> Result<Self> {
        if span < WINDOW_LEN as u64 {
            return Err(Error::Argument(format!(
                "a span of {span} bytes is below the {WINDOW_LEN} bytes of a window"
            )));
        }
        Ok(Self {
            inflate: Inflate::new(Wrap::Gzip)?,
            state: State::Start,
            span,
            stored: 0,
            original: 0,
            noted: None,
            crc32c: 0,
            last_byte: 0,
            trial: None,
            points: Vec::new(),
        })
    }

    /// The points that were noted since the last call.
    ///
    /// A point comes a little after its place was passed: only then is known what of its window is
    /// of use. At the end of the file all are there.
    pub fn take_points(&mut self) -> Vec<Point> {
        std::mem::take(&mut self.points)
    }

    /// Stored bytes read and original bytes given so far.
    #[must_use]
    pub const fn position(&self) -> (u64, u64) {
        (self.stored, self.original)
    }

    /// CRC32C of the original bytes since the last point, which may not be among those given yet.
    #[must_use]
    pub const fn crc32c_behind(&self) -> u32 {
        self.crc32c
    }

    /// Steps over zeros behind a member; returns how many there are.
    fn skip_padding(&mut self, src: &[u8]) -> Result<usize> {
        let zeros = src.iter().take_while(|&&byte| byte == 0).count();
        if zeros > 0 {
            self.state = State::Padding;
        }
        if self.state == State::Padding && zeros < src.len() {
            return Err(Error::decode(
                NAME,
                "bytes follow the padding behind the last member",
            ));
        }
        self.stored += zeros as u64;
        Ok(zeros)
    }

    fn begin_member(&mut self) -> Result<()> {
        if self.state == State::Between {
            self.inflate.restart(Wrap::Gzip)?;
        }
        self.state = State::Inside;
        if self.distance() >= self.span / MEMBER_SHARE {
            self.noted = Some(self.original);
            self.points.push(Point {
                stored: self.stored,
                bits: 0,
                original: self.original,
                window: Vec::new(),
                crc32c_before: std::mem::take(&mut self.crc32c),
            });
        }
        Ok(())
    }

    /// Original bytes since the last point; as many as there can be before the first.
    fn distance(&self) -> u64 {
        self.noted.map_or(u64::MAX, |noted| self.original - noted)
    }

    fn begin_block(&mut self, spare_bits: u8) -> Result<()> {
        if self.distance() < self.span {
            return Ok(());
        }
        let window = self.inflate.window();
        let point = Point {
            stored: self.stored - u64::from(spare_bits > 0),
            bits: (8 - spare_bits) % 8,
            original: self.original,
            window,
            crc32c_before: self.crc32c,
        };
        // Members begin elsewhere; a window without bytes would say otherwise.
        if !point.window.is_empty() {
            self.noted = Some(self.original);
            self.crc32c = 0;
            let trial = Trial::new(point, self.last_byte, spare_bits)?;
            let before = self.trial.replace(trial);
            self.points.extend(before.map(Trial::into_point));
        }
        Ok(())
    }

    /// Lets the trial see what the decoder has just seen.
    fn observe(&mut self, read: &[u8], written: &[u8], ended: bool) -> Result<()> {
        if let Some(trial) = &mut self.trial {
            trial.observe(read, written.len())?;
            if (ended || trial.is_complete())
                && let Some(trial) = self.trial.take()
            {
                self.points.push(trial.into_point());
            }
        }
        Ok(())
    }
}

impl Decompress for GzipIndexer {
    fn decompress(&mut self, src: &[u8], out: &mut Vec<u8>, max: usize) -> Result<usize> {
        let end = out.len().saturating_add(max);
        let mut at = 0;
        loop {
            if matches!(self.state, State::Between | State::Padding) {
                at += self.skip_padding(&src[at..])?;
            }
            let start = out.len();
            // A block that begins long after a point was due would be passed by a large step.
            let due = self.span.saturating_sub(self.distance()).max(1) as usize;
            let seeks = due == 1;
            let room = (end - start).min(STEP).min(if seeks { STEP } else { due });
            if room == 0 || (at == src.len() && self.state != State::Inside) {
                return Ok(at);
            }
            if self.state != State::Inside {
                self.begin_member()?;
            }
            out.resize(start + room, 0);
            let result = self.inflate.step(&src[at..], &mut out[start..], seeks);
            let Step {
                read,
                written,
                stop,
            } = result.inspect_err(|_| out.truncate(start))?;
            out.truncate(start + written);
            let seen = &src[at..at + read];
            at += read;
            self.stored += read as u64;
            self.original += written as u64;
            self.crc32c = crc32c(&out[start..], self.crc32c);
            self.last_byte = seen.last().copied().unwrap_or(self.last_byte);
            self.observe(seen, &out[start..], stop == Stop::End)?;
            match stop {
                Stop::End => self.state = State::Between,
                Stop::Block { spare_bits } => self.begin_block(spare_bits)?,
                Stop::Room if at == src.len() && written < room => return Ok(at),
                Stop::Room if read == 0 && written == 0 => return Ok(at),
                Stop::Room => {}
            }
        }
    }

    fn is_complete(&self) -> bool {
        matches!(self.state, State::Between | State::Padding)
    }

    fn cut_short(&self) -> Error {
        Error::decode(NAME, "incomplete member")
    }
}

/// Finds out which bytes of a window are referred to.
struct Trial {
    point: Point,
    // How much was decoded behind the point, at most what can refer to the window.
    len: usize,
    // What that decodes to if the window holds the low and the high byte of each position.
    low: Probe,
    high: Probe,
}

impl Trial {
    fn new(point: Point, byte: u8, spare_bits: u8) -> Result<Self> {
        let positions = 0..point.window.len();
        let low: Vec<u8> = positions.clone().map(|place| place as u8).collect();
        let high: Vec<u8> = positions.map(high_byte).collect();
        Ok(Self {
            len: 0,
            low: Probe::new(&low, byte, spare_bits)?,
            high: Probe::new(&high, byte, spare_bits)?,
            point,
        })
    }

    fn observe(&mut self, read: &[u8], written: usize) -> Result<()> {
        self.len = (self.len + written).min(WINDOW_LEN);
        self.low.feed(read)?;
        self.high.feed(read)
    }

    /// Nothing can refer to the window from further away than its length.
    fn is_complete(&self) -> bool {
        let len = self.len;
        len == WINDOW_LEN && self.low.output.len() == len && self.high.output.len() == len
    }

    /// The point with a window of which only what is of use is left.
    fn into_point(self) -> Point {
        let (low, high) = (self.low.output, self.high.output);
        let (mut point, len) = (self.point, self.len);
        if low.len() != len || high.len() != len {
            return point;
        }
        let mut used = vec![false; point.window.len()];
        for (&low, &high) in low.iter().zip(&high) {
            // A literal is the same in both outputs, and in few positions both bytes are the same.
            let place = usize::from(high & 0x7f) << 8 | usize::from(low);
            if high & 0x80 != 0 && place < used.len() {
                used[place] = true;
            }
        }
        // The front may go, all of it may not: see `Point::window`.
        let first = used.iter().position(|&used| used);
        let first = first.unwrap_or(used.len()).min(used.len() - 1);
        for (byte, &used) in point.window.iter_mut().zip(&used) {
            if !used {
                *byte = 0;
            }
        }
        point.window.drain(..first);
        point
    }
}

/// The high byte of a position in a window, told from low bytes below 128 by its highest bit.
fn high_byte(place: usize) -> u8 {
    0x80 | (place >> 8) as u8
}

/// A decoder behind a point whose window is not the true one.
struct Probe {
    inflate: Inflate,
    output: Vec<u8>,
    ended: bool,
}

impl Probe {
    fn new(window: &[u8], byte: u8, spare_bits: u8) -> Result<Self> {
        Ok(Self {
            inflate: Inflate::inside(window, byte, spare_bits)?,
            output: Vec::new(),
            ended: false,
        })
    }

    fn feed(&mut self, mut src: &[u8]) -> Result<()> {
        loop {
            let start = self.output.len();
            if self.ended || start == WINDOW_LEN {
                return Ok(());
            }
            self.output.resize(WINDOW_LEN, 0);
            let result = self.inflate.step(src, &mut self.output[start..], false);
            let written = result.as_ref().map_or(0, |step| step.written);
            self.output.truncate(start + written);
            let step = result?;
            src = &src[step.read..];
            self.ended = step.stop == Stop::End;
            if src.is_empty() || (step.read == 0 && written == 0) {
                return Ok(());
            }
        }
    }
}

/// Decodes from a point on until `dst` is full.
///
/// Members that begin on the way are checked as far as they end in `dst`; what follows a point inside
/// of a member is not, because the checksum covers the whole member.
///
/// # Errors
/// [`Error::Decode`] for damaged input, and for input that ends before `dst` is full;
/// [`Error::Argument`] for a bit offset above 7.
pub fn resume(
    window: &[u8],
    bits: u8,
    stored: &[u8],
    dst: &mut [u8],
    cancel: &Cancel,
) -> Result<()> {
    if bits > 7 {
        return Err(Error::Argument(format!(
            "bit offset {bits} is not in 0..=7"
        )));
    }
    let inside = !window.is_empty();
    let (mut inflate, mut rest) = match (inside, bits, stored) {
        (false, ..) => (Inflate::new(Wrap::Gzip)?, stored),
        (true, 0, _) => (Inflate::inside(window, 0, 0)?, stored),
        (true, _, [byte, rest @ ..]) => (Inflate::inside(window, *byte, 8 - bits)?, rest),
        (true, _, []) => {
            return if dst.is_empty() {
                Ok(())
            } else {
                Err(ends_early())
            };
        }
    };
    // Behind a deflate stream without header comes a trailer that nobody has read.
    let mut trailer = if inside { gzip_member::TRAILER_LEN } else { 0 };
    let mut at = 0;
    while at < dst.len() {
        cancel.check()?;
        let end = dst.len().min(at + STEP);
        let step = inflate.step(rest, &mut dst[at..end], false)?;
        rest = &rest[step.read..];
        at += step.written;
        if step.stop == Stop::End {
            rest = rest.get(trailer..).unwrap_or_default();
            trailer = 0;
            inflate.restart(Wrap::Gzip)?;
        } else if step.read == 0 && step.written == 0 {
            return Err(ends_early());
        }
    }
    Ok(())
}

/// Refuses a number of original bytes that so many stored ones cannot hold.
///
/// # Errors
/// [`Error::Decode`], as for input that ends too early.
pub fn check_size(stored_len: usize, original_len: usize) -> Result<()> {
    // The bits of a first byte may be shared.
    let most = (stored_len as u64 + 1).saturating_mul(MAX_RATIO);
    if original_len as u64 > most {
        Err(ends_early())
    } else {
        Ok(())
    }
}

fn ends_early() -> Error {
    Error::decode(NAME, "the input ends before the bytes that are asked for")
}
