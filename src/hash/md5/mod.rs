//! MD5 (RFC 1321), for S3: servers that check no better digest check this one (`Content-MD5`), and
//! ETags are made of it. It withstands no forger.
//!
//! A message is a chain of steps, each of which needs the one before, so that one message leaves a
//! CPU idle most of the time. Several advance side by side, one per lane of a vector register; a lane
//! whose message has ended takes the next one.
//!
//! ```text
//! kernel   the ways to compute the hash, by name
//! batch    many messages: which one is in which lane
//! lanes    the compression function, in vectors and plain registers
//! ```

mod batch;
mod kernel;
mod lanes;

pub use kernel::Kernel;

use crate::{error::Result, pool::Cancel};

/// Bytes of a digest.
pub const DIGEST_LEN: usize = 16;

/// The hash of a message.
pub type Digest = [u8; DIGEST_LEN];

/// Bytes that the hash takes in at a time.
const BLOCK_LEN: usize = 64;

/// The hash value between two blocks: words a to d, and as many again that nobody looks at, because
/// vectors load and store eight words of each lane.
type State = [u32; 8];

/// The hash value before the first block: RFC 1321, 3.3.
const INITIAL: State = [
    0x6745_2301,
    0xEFCD_AB89,
    0x98BA_DCFE,
    0x1032_5476,
    0,
    0,
    0,
    0,
];

/// The sines of 1 to 64, without their signs, in units of 2^-32: RFC 1321, 3.4.
#[rustfmt::skip]
const SINES: [u32; 64] = [
    0xD76A_A478, 0xE8C7_B756, 0x2420_70DB, 0xC1BD_CEEE, 0xF57C_0FAF, 0x4787_C62A, 0xA830_4613, 0xFD46_9501,
    0x6980_98D8, 0x8B44_F7AF, 0xFFFF_5BB1, 0x895C_D7BE, 0x6B90_1122, 0xFD98_7193, 0xA679_438E, 0x49B4_0821,
    0xF61E_2562, 0xC040_B340, 0x265E_5A51, 0xE9B6_C7AA, 0xD62F_105D, 0x0244_1453, 0xD8A1_E681, 0xE7D3_FBC8,
    0x21E1_CDE6, 0xC337_07D6, 0xF4D5_0D87, 0x455A_14ED, 0xA9E3_E905, 0xFCEF_A3F8, 0x676F_02D9, 0x8D2A_4C8A,
    0xFFFA_3942, 0x8771_F681, 0x6D9D_6122, 0xFDE5_380C, 0xA4BE_EA44, 0x4BDE_CFA9, 0xF6BB_4B60, 0xBEBF_BC70,
    0x289B_7EC6, 0xEAA1_27FA, 0xD4EF_3085, 0x0488_1D05, 0xD9D4_D039, 0xE6DB_99E5, 0x1FA2_7CF8, 0xC4AC_5665,
    0xF429_2244, 0x432A_FF97, 0xAB94_23A7, 0xFC93_A039, 0x655B_59C3, 0x8F0C_CC92, 0xFFEF_F47D, 0x8584_5DD1,
    0x6FA8_7E4F, 0xFE2C_E6E0, 0xA301_4314, 0x4E08_11A1, 0xF753_7E82, 0xBD3A_F235, 0x2AD7_D2BB, 0xEB86_D391,
];

/// The digests of many messages, side by side on this thread; `digests[i]` is that of `messages[i]`.
///
/// Only the pairs that both slices have are made.
///
/// # Errors
/// [`crate::Error::Interrupted`], with some of the digests made.
pub fn digest_many(messages: &[&[u8]], digests: &mut [Digest], cancel: &Cancel) -> Result<()> {
    Kernel::best().digest_many(messages, digests, cancel)
}
