//! Is it worth compressing? The S4 gateway's sampling rules.

use super::CodecKind;

/// How much of the front of an object is looked at.
pub const SAMPLE_LEN: usize = 4096;

/// Shannon entropy in bits per byte from which data count as incompressible.
const HIGH_ENTROPY: f64 = 7.5;
/// A packed format's head is believed only if more than this follows.
const PACKED_MIN_LEN: usize = 48;
/// Bytes of a packed format's own header, left out of its entropy.
const PACKED_HEADER_LEN: usize = 16;
/// A shorter sample cannot reach a high entropy, so its entropy says nothing.
const ENTROPY_MIN_LEN: usize = 128;

/// [`CodecKind::Passthrough`] for data that will not shrink, else [`CodecKind::CpuZstd`].
///
/// Looks at the first [`SAMPLE_LEN`] bytes of `data` at most.
#[must_use]
pub fn pick_codec(data: &[u8]) -> CodecKind {
    let sample = &data[..data.len().min(SAMPLE_LEN)];
    let packed = sample.len() > PACKED_MIN_LEN
        && is_packed_head(sample)
        && entropy(&sample[PACKED_HEADER_LEN..]) >= HIGH_ENTROPY;
    let noisy = sample.len() >= ENTROPY_MIN_LEN && entropy(sample) >= HIGH_ENTROPY;
    if packed || noisy {
        CodecKind::Passthrough
    } else {
        CodecKind::CpuZstd
    }
}

fn is_packed_head(sample: &[u8]) -> bool {
    const HEADS: [&[u8]; 10] = [
        b"\x1f\x8b",
        b"\x28\xb5\x2f\xfd",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"%PDF-",
        b"PK\x03\x04",
        b"7z\xbc\xaf\x27\x1c",
        b"\xfd7zXZ\x00",
        b"BZh",
        b"\x1a\x45\xdf\xa3",
    ];
    HEADS.iter().any(|head| sample.starts_with(head))
        || sample.get(4..8) == Some(b"ftyp")
        || (sample.starts_with(b"RIFF") && sample.get(8..12) == Some(b"WEBP"))
}

/// Shannon entropy of the bytes, in bits per byte.
#[expect(clippy::cast_precision_loss, reason = "counts of at most 4096")]
fn entropy(bytes: &[u8]) -> f64 {
    let mut counts = [0u32; 256];
    for &byte in bytes {
        counts[usize::from(byte)] += 1;
    }
    let total = bytes.len() as f64;
    -counts
        .iter()
        .filter(|&&count| count > 0)
        .map(|&count| {
            let share = f64::from(count) / total;
            share * share.log2()
        })
        .sum::<f64>()
}
