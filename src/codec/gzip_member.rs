//! The frame around a deflate stream: gzip members (RFC 1952), and members that state their length.
//!
//! A member whose extra field holds its own stored length can be found without decoding it, so a
//! file of such members decodes in parallel. Two subfields are understood: `IG` (a u32, the length
//! of the whole member; written here and by pgzip) and `BC` (a u16, that length less one; BGZF).

/// Length of the fixed header.
pub const HEADER_LEN: usize = 10;
/// Length of the trailer: CRC-32 and the original length modulo 2^32.
pub const TRAILER_LEN: usize = 8;
/// Length of the header of a member that states its length.
pub const SIZED_HEADER_LEN: usize = HEADER_LEN + 2 + SUBFIELD_LEN;
/// The first bytes of a member: magic and method.
pub const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];

const FLAG_HEADER_CRC: u8 = 2;
const FLAG_EXTRA: u8 = 4;
const FLAG_NAME: u8 = 8;
const FLAG_COMMENT: u8 = 16;
const SUBFIELD_LEN: usize = 8;

/// The header as S4 writes it: no name, no time, unknown system.
#[must_use]
pub fn header(level: u32) -> [u8; HEADER_LEN] {
    let effort = match level {
        9 => 2,
        0 | 1 => 4,
        _ => 0,
    };
    [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, effort, 0xff]
}

/// The header of a member of `member_len` bytes in all, stated in it.
#[must_use]
pub fn sized_header(level: u32, member_len: u32) -> [u8; SIZED_HEADER_LEN] {
    let mut out = [0; SIZED_HEADER_LEN];
    out[..HEADER_LEN].copy_from_slice(&header(level));
    out[3] = FLAG_EXTRA;
    out[10..16].copy_from_slice(&[SUBFIELD_LEN as u8, 0, b'I', b'G', 4, 0]);
    out[16..].copy_from_slice(&member_len.to_le_bytes());
    out
}

/// The trailer for the given CRC-32 and length.
#[must_use]
pub fn trailer(crc32: u32, original_len: u32) -> [u8; TRAILER_LEN] {
    let mut out = [0; TRAILER_LEN];
    out[..4].copy_from_slice(&crc32.to_le_bytes());
    out[4..].copy_from_slice(&original_len.to_le_bytes());
    out
}

/// The member that `src` starts with, if it states a length that fits.
#[must_use]
pub fn sized_member(src: &[u8]) -> Option<&[u8]> {
    if !src.starts_with(&MAGIC) || src.get(3)? & FLAG_EXTRA == 0 {
        return None;
    }
    let extra_len = usize::from(u16::from_le_bytes(*src.get(10..)?.first_chunk()?));
    let mut extra = src.get(12..12 + extra_len)?;
    while let [a, b, c, d, rest @ ..] = extra {
        let (value, after) = rest.split_at_checked(usize::from(u16::from_le_bytes([*c, *d])))?;
        let len = match ([*a, *b], value.len()) {
            ([b'I', b'G'], 4) => u32::from_le_bytes(*value.first_chunk()?) as usize,
            ([b'B', b'C'], 2) => usize::from(u16::from_le_bytes(*value.first_chunk()?)) + 1,
            _ => {
                extra = after;
                continue;
            }
        };
        return if len >= HEADER_LEN + TRAILER_LEN {
            src.get(..len)
        } else {
            None
        };
    }
    None
}

/// Is the optional checksum of the header right? True where there is none.
#[must_use]
pub fn header_checksum_holds(src: &[u8]) -> bool {
    match src.get(3) {
        Some(flags) if flags & FLAG_HEADER_CRC != 0 => checked_header(src).is_some(),
        _ => true,
    }
}

fn checked_header(src: &[u8]) -> Option<()> {
    let flags = *src.get(3)?;
    let mut at = HEADER_LEN;
    if flags & FLAG_EXTRA != 0 {
        at += 2 + usize::from(u16::from_le_bytes(*src.get(at..)?.first_chunk()?));
    }
    for flag in [FLAG_NAME, FLAG_COMMENT] {
        if flags & flag != 0 {
            at += 1 + src.get(at..)?.iter().position(|&byte| byte == 0)?;
        }
    }
    let stated = u16::from_le_bytes(*src.get(at..)?.first_chunk()?);
    (libdeflater::crc32(&src[..at]) & 0xffff == u32::from(stated)).then_some(())
}

/// The original length modulo 2^32 that the last bytes of a member state.
#[must_use]
pub fn stated_len(member: &[u8]) -> Option<u32> {
    member.last_chunk().copied().map(u32::from_le_bytes)
}
