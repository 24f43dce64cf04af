//! What the CPU can do, and how much of it kernels may use.
//!
//! Every kernel has a scalar twin. `SHARDPACK_CPU` caps what is chosen, so that each level can be
//! tested on any machine that has it:
//!
//! | level | kernels may use |
//! |---|---|
//! | `scalar` | no SIMD, no CRC, SHA or carry-less multiply instruction |
//! | `ssse3` | SSSE3, SSE4.1, SSE4.2, PCLMULQDQ, SHA-NI |
//! | `avx2` | the above, AVX2, VPCLMULQDQ on 256 bits |
//! | `gfni` | the above, GFNI on 256 bits |
//! | `avx512` | the above, AVX-512 F, BW, DQ, VL |
//! | `neon` | `AArch64`: NEON, and CRC32, PMULL, SHA2, SHA3 where the CPU has them |

use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::{Error, Result};

/// The environment variable that caps the level.
pub const VARIABLE: &str = "SHARDPACK_CPU";

/// One capability that kernels ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Feature {
    /// Byte shuffles on 128 bits, with SSE4.1.
    Ssse3 = 1 << 0,
    /// The `crc32` instruction.
    Sse42 = 1 << 1,
    /// Carry-less multiplication on 128 bits.
    Pclmulqdq = 1 << 2,
    /// The SHA-256 instructions of x86.
    Sha = 1 << 3,
    /// Integer vectors of 256 bits.
    Avx2 = 1 << 4,
    /// Carry-less multiplication on the widest vectors allowed.
    Vpclmulqdq = 1 << 5,
    /// Affine maps over GF(2).
    Gfni = 1 << 6,
    /// AVX-512 F, BW, DQ and VL.
    Avx512 = 1 << 7,
    /// Vectors of `AArch64`.
    Neon = 1 << 8,
    /// The CRC32 instructions of `AArch64`.
    ArmCrc = 1 << 9,
    /// Carry-less multiplication of `AArch64`.
    ArmPmull = 1 << 10,
    /// The SHA-256 instructions of `AArch64`.
    ArmSha2 = 1 << 11,
    /// The SHA-3 instructions of `AArch64`.
    ArmSha3 = 1 << 12,
}

const FEATURES: [(&str, Feature); 13] = [
    ("ssse3", Feature::Ssse3),
    ("sse4.2", Feature::Sse42),
    ("pclmulqdq", Feature::Pclmulqdq),
    ("sha", Feature::Sha),
    ("avx2", Feature::Avx2),
    ("vpclmulqdq", Feature::Vpclmulqdq),
    ("gfni", Feature::Gfni),
    ("avx512", Feature::Avx512),
    ("neon", Feature::Neon),
    ("crc", Feature::ArmCrc),
    ("pmull", Feature::ArmPmull),
    ("sha2", Feature::ArmSha2),
    ("sha3", Feature::ArmSha3),
];

const SSSE3: u32 =
    Feature::Ssse3 as u32 | Feature::Sse42 as u32 | Feature::Pclmulqdq as u32 | Feature::Sha as u32;
const AVX2: u32 = SSSE3 | Feature::Avx2 as u32 | Feature::Vpclmulqdq as u32;
const GFNI: u32 = AVX2 | Feature::Gfni as u32;
const AVX512: u32 = GFNI | Feature::Avx512 as u32;
const NEON: u32 = Feature::Neon as u32
    | Feature::ArmCrc as u32
    | Feature::ArmPmull as u32
    | Feature::ArmSha2 as u32
    | Feature::ArmSha3 as u32;

/// The levels from the lowest on: their names, what they allow, and the feature that makes them.
const LEVELS: [(&str, u32, u32); 6] = [
    ("scalar", 0, 0),
    ("ssse3", SSSE3, Feature::Ssse3 as u32),
    ("avx2", AVX2, Feature::Avx2 as u32),
    ("gfni", GFNI, Feature::Gfni as u32),
    ("avx512", AVX512, Feature::Avx512 as u32),
    ("neon", NEON, Feature::Neon as u32),
];

/// Set in [`IN_USE`] once the rest of it means something.
const KNOWN: u32 = 1 << 31;
static IN_USE: AtomicU32 = AtomicU32::new(0);

/// Whether kernels may use `feature`. Costs one load.
#[must_use]
#[inline]
pub fn has(feature: Feature) -> bool {
    in_use() & feature as u32 != 0
}

/// The names of all levels that this CPU has, the lowest first.
#[must_use]
pub fn levels() -> Vec<&'static str> {
    let present = detect();
    let levels = LEVELS.iter();
    let found = levels.filter(|(_, _, mark)| present & mark == *mark);
    found.map(|(name, _, _)| *name).collect()
}

/// The name of the level in use.
#[must_use]
pub fn level() -> &'static str {
    let allowed = in_use();
    let found = LEVELS
        .iter()
        .rev()
        .find(|(_, _, mark)| allowed & mark == *mark);
    found.map_or("scalar", |(name, _, _)| *name)
}

/// All features by name, and whether they are in use.
pub fn features() -> impl Iterator<Item = (&'static str, bool)> {
    FEATURES.iter().map(|&(name, feature)| (name, has(feature)))
}

/// Reads [`VARIABLE`] and sets the level for good.
///
/// # Errors
/// [`Error::Unavailable`] for a level that does not exist or that this CPU does not have. Without
/// this call such a level is ignored.
pub fn select() -> Result<()> {
    let present = detect();
    let wish = std::env::var(VARIABLE).unwrap_or_default();
    let allowed = allowed_by(wish.trim(), present)?;
    IN_USE.store(KNOWN | allowed, Ordering::Relaxed);
    Ok(())
}

fn allowed_by(wish: &str, present: u32) -> Result<u32> {
    if wish.is_empty() {
        return Ok(present);
    }
    let level = LEVELS.iter().find(|(name, _, _)| *name == wish);
    match level {
        Some((_, allowed, mark)) if present & mark == *mark => Ok(present & allowed),
        _ => Err(Error::Unavailable(format!(
            "{VARIABLE}={wish:?}: this CPU has the levels {}",
            levels().join(", ")
        ))),
    }
}

#[inline]
fn in_use() -> u32 {
    let known = IN_USE.load(Ordering::Relaxed);
    if known & KNOWN != 0 {
        known
    } else {
        find_out()
    }
}

#[cold]
fn find_out() -> u32 {
    let present = detect();
    let wish = std::env::var(VARIABLE).unwrap_or_default();
    let allowed = KNOWN | allowed_by(wish.trim(), present).unwrap_or(present);
    IN_USE.store(allowed, Ordering::Relaxed);
    allowed
}

#[cfg(target_arch = "x86_64")]
fn detect() -> u32 {
    let all = |features: &[bool], feature: Feature| {
        if features.iter().all(|&present| present) {
            feature as u32
        } else {
            0
        }
    };
    let ssse3 = is_x86_feature_detected!("ssse3") && is_x86_feature_detected!("sse4.1");
    let avx2 = ssse3 && is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi2");
    let gfni = avx2 && is_x86_feature_detected!("gfni");
    let avx512 = gfni
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    let sse42 = is_x86_feature_detected!("sse4.2");
    let pclmulqdq = is_x86_feature_detected!("pclmulqdq");
    all(&[ssse3], Feature::Ssse3)
        | all(&[sse42], Feature::Sse42)
        | all(&[pclmulqdq], Feature::Pclmulqdq)
        | all(&[ssse3, is_x86_feature_detected!("sha")], Feature::Sha)
        | all(&[avx2], Feature::Avx2)
        | all(
            &[avx2, pclmulqdq, is_x86_feature_detected!("vpclmulqdq")],
            Feature::Vpclmulqdq,
        )
        | all(&[gfni], Feature::Gfni)
        | all(&[avx512], Feature::Avx512)
}

#[cfg(target_arch = "aarch64")]
fn detect() -> u32 {
    use std::arch::is_aarch64_feature_detected as detected;
    let pairs = [
        (detected!("neon"), Feature::Neon),
        (detected!("crc"), Feature::ArmCrc),
        (detected!("aes"), Feature::ArmPmull),
        (detected!("sha2"), Feature::ArmSha2),
        (detected!("sha3"), Feature::ArmSha3),
    ];
    let found = pairs.iter().filter(|(present, _)| *present);
    found.fold(0, |bits, (_, feature)| bits | *feature as u32)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn detect() -> u32 {
    0
}
