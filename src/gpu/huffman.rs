//! The code tables of a `GDeflate` block, in one array that one look-up serves.
//!
//! The first [`ROOT_BITS`] bits of a literal or length code select an entry of the first part, those
//! of a distance code one of the second part. Codes that are longer lead on to small tables in the
//! rest. Every entry says how many bits the code takes, how many extra bits follow, and the value
//! that these are added to; see the constants.

#![forbid(unsafe_code)]

/// Longest code of RFC 1951.
const MAX_CODE_BITS: usize = 15;
/// Bits that the first look uses. More would make the table dearer to fill than a chunk of 64 KiB
/// can pay back.
const ROOT_BITS: u32 = 10;
/// Entries that the first look can reach, for either kind of code.
const ROOT_LEN: usize = 1 << ROOT_BITS;
/// Two first levels and as much again for the second: a table of 2^n entries there takes at least
/// n + 1 symbols of a complete code, n <= 5, and there are 320 symbols.
const TABLE_LEN: usize = 4 * ROOT_LEN;
/// Bits of the longest code-length code.
const PRECODE_BITS: u32 = 7;

/// Literal, end and length symbols of the fixed code.
pub(super) const LITERAL_COUNT: usize = 288;
/// Distance symbols: two more than in RFC 1951, as in DEFLATE64.
pub(super) const DISTANCE_COUNT: usize = 32;
/// Symbols of the code-length code.
pub(super) const PRECODE_COUNT: usize = 19;

// An entry, from the lowest bit on: 6 bits for code and extra bits together, 4 for the code alone,
// flags, and from bit 16 the base value. In a link the first field is the number of bits that index
// the table it leads to, and the base is the place of that table.
const COUNT_MASK: u32 = 63;
const CODE_SHIFT: u32 = 6;
const BASE_SHIFT: u32 = 16;
/// The entry is a match length; its distance follows. As a number this is where the first level of
/// the distances begins, so it selects the table of the lane's next symbol.
pub(super) const LENGTH: u32 = 1 << ROOT_BITS;
/// The entry ends the block.
pub(super) const END: u32 = 1 << 11;
/// No symbol has this code.
pub(super) const INVALID: u32 = 1 << 12;
/// The code is longer than the first look.
pub(super) const LINK: u32 = 1 << 13;
/// Whatever is not just a value.
pub(super) const UNUSUAL: u32 = END | INVALID | LINK;

/// Shortest length of the symbols from 257 on; the last one is DEFLATE64's.
const LENGTH_BASES: [u32; 29] = [
    3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131,
    163, 195, 227, 3,
];
/// Their numbers of extra bits.
const LENGTH_EXTRA_BITS: [u32; 29] = [
    0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 16,
];

/// Entries of the literal, end and length symbols, still without a code.
const LITERALS: [u32; LITERAL_COUNT] = {
    let mut entries = [INVALID; LITERAL_COUNT];
    let mut symbol = 0;
    while symbol < 256 {
        entries[symbol] = (symbol as u32) << BASE_SHIFT;
        symbol += 1;
    }
    entries[256] = END;
    let mut index = 0;
    while index < LENGTH_BASES.len() {
        entries[257 + index] =
            LENGTH_BASES[index] << BASE_SHIFT | LENGTH | LENGTH_EXTRA_BITS[index];
        index += 1;
    }
    entries
};

/// Entries of the distance symbols, still without a code.
const DISTANCES: [u32; DISTANCE_COUNT] = {
    let mut entries = [0; DISTANCE_COUNT];
    let (mut symbol, mut base) = (0, 1);
    while symbol < DISTANCE_COUNT {
        let extra = (symbol as u32 / 2).saturating_sub(1);
        entries[symbol] = base << BASE_SHIFT | extra;
        base += 1 << extra;
        symbol += 1;
    }
    entries
};

/// Entries of the code-length symbols, still without a code. The base is the symbol itself.
const PRECODES: [u32; PRECODE_COUNT] = {
    let mut entries = [0; PRECODE_COUNT];
    let mut symbol = 0;
    while symbol < PRECODE_COUNT {
        let extra = match symbol {
            16 => 2,
            17 => 3,
            18 => 7,
            _ => 0,
        };
        entries[symbol] = (symbol as u32) << BASE_SHIFT | extra;
        symbol += 1;
    }
    entries
};

/// Why lengths make no code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("the {0} code has more codes than fit")]
    Oversubscribed(&'static str),
    #[error("the {0} code leaves bit patterns without a meaning")]
    Incomplete(&'static str),
}

/// Bits that a symbol takes, code and extra bits.
#[inline]
pub(super) fn bit_count(entry: u32) -> u32 {
    entry & COUNT_MASK
}

/// The least value of a symbol.
#[inline]
pub(super) fn base(entry: u32) -> u32 {
    entry >> BASE_SHIFT
}

/// The value of the symbol that `bits` begin with: its base plus the extra bits behind the code.
#[inline]
pub(super) fn value(entry: u32, bits: u32) -> u32 {
    let code_and_extra = bits & !(u32::MAX << (bit_count(entry) % 32));
    base(entry) + (code_and_extra >> (entry >> CODE_SHIFT & 15))
}

/// The codes of a block: literals and lengths, and distances. While these are read, the
/// code-length code.
pub(super) struct Table {
    entries: [u32; TABLE_LEN],
}

/// One code to be put into the table.
struct Code<'a> {
    name: &'static str,
    /// Where its first level starts.
    root_at: usize,
    root_bits: u32,
    /// The code lengths, by symbol.
    lengths: &'a [u8],
    /// What the symbols stand for.
    symbols: &'static [u32],
}

impl Table {
    pub(super) const fn new() -> Self {
        Self {
            entries: [INVALID; TABLE_LEN],
        }
    }

    /// The entry that the first look finds. `due` is [`LENGTH`] for a distance, else 0.
    #[inline]
    pub(super) fn first(&self, bits: u64, due: u32) -> u32 {
        let index = (bits as usize % ROOT_LEN) | due as usize;
        self.entries[index % TABLE_LEN]
    }

    /// The entry that a first one leads to; itself unless it is a link.
    #[inline]
    pub(super) fn second(&self, entry: u32, bits: u64) -> u32 {
        if entry & LINK == 0 {
            return entry;
        }
        let index = (bits >> ROOT_BITS) as usize % (1 << bit_count(entry));
        self.entries[(base(entry) as usize + index) % TABLE_LEN]
    }

    /// The entry of a code-length code, after [`Self::fill_precode`].
    pub(super) fn precode(&self, bits: u64) -> u32 {
        self.entries[bits as usize % (1 << PRECODE_BITS)]
    }

    /// Makes this the table of the code-length code.
    pub(super) fn fill_precode(&mut self, lengths: &[u8; PRECODE_COUNT]) -> Result<(), Fault> {
        let code = Code {
            name: "code-length",
            root_at: 0,
            root_bits: PRECODE_BITS,
            lengths,
            symbols: &PRECODES,
        };
        self.add(&code, TABLE_LEN)?;
        Ok(())
    }

    /// Makes this the table of a block's two codes.
    pub(super) fn fill(&mut self, literals: &[u8], distances: &[u8]) -> Result<(), Fault> {
        let literals = Code {
            name: "literal",
            root_at: 0,
            root_bits: ROOT_BITS,
            lengths: literals,
            symbols: &LITERALS,
        };
        let distances = Code {
            name: "distance",
            root_at: ROOT_LEN,
            root_bits: ROOT_BITS,
            lengths: distances,
            symbols: &DISTANCES,
        };
        let free = self.add(&literals, 2 * ROOT_LEN)?;
        self.add(&distances, free)?;
        Ok(())
    }

    /// Makes this the table of RFC 1951's fixed codes.
    pub(super) fn fill_fixed(&mut self) -> Result<(), Fault> {
        let mut literals = [8; LITERAL_COUNT];
        literals[144..256].fill(9);
        literals[256..280].fill(7);
        self.fill(&literals, &[5; DISTANCE_COUNT])
    }

    /// Puts one code in; its second level goes to `free` and after. Returns the next free place.
    fn add(&mut self, code: &Code<'_>, mut free: usize) -> Result<usize, Fault> {
        let root_len = 1 << code.root_bits;
        let mut left = count_lengths(code.lengths);
        if !is_complete(code.name, &left)? {
            self.entries[code.root_at..code.root_at + root_len].fill(INVALID);
        }
        let (sorted, used) = sort_by_length(code.lengths, &left);
        let mut next_code = 0_u32;
        let mut last_len = 0;
        let (mut prefix, mut place, mut width) = (usize::MAX, 0, 0);
        for &symbol in &sorted[..used] {
            let symbol = usize::from(symbol);
            let len = u32::from(code.lengths[symbol]);
            next_code <<= len - last_len;
            last_len = len;
            let pattern = (next_code.reverse_bits() >> (32 - len)) as usize;
            let entry = code.symbols[symbol] + len + (len << CODE_SHIFT);
            next_code += 1;

            if len <= code.root_bits {
                let root = &mut self.entries[code.root_at..code.root_at + root_len];
                for slot in root[pattern..].iter_mut().step_by(1 << len) {
                    *slot = entry;
                }
            } else {
                if pattern % root_len != prefix {
                    prefix = pattern % root_len;
                    place = free;
                    width = second_width(&left, len, code.root_bits);
                    free += 1 << width;
                    self.entries[code.root_at + prefix] =
                        (place as u32) << BASE_SHIFT | LINK | width;
                }
                let table = &mut self.entries[place..place + (1 << width)];
                let pattern = pattern >> code.root_bits;
                for slot in table[pattern..]
                    .iter_mut()
                    .step_by(1 << (len - code.root_bits))
                {
                    *slot = entry;
                }
            }
            left[len as usize] -= 1;
        }
        Ok(free)
    }
}

/// How many symbols have each length, but for those that have none.
fn count_lengths(lengths: &[u8]) -> [u16; MAX_CODE_BITS + 1] {
    let mut counts = [0; MAX_CODE_BITS + 1];
    for &length in lengths {
        counts[usize::from(length) % (MAX_CODE_BITS + 1)] += 1;
    }
    counts[0] = 0;
    counts
}

/// Whether every pattern of bits is a code. The two incomplete codes of RFC 1951 are no fault: one
/// without symbols, and one of a single symbol of one bit.
fn is_complete(name: &'static str, counts: &[u16; MAX_CODE_BITS + 1]) -> Result<bool, Fault> {
    let mut room = 1_u32;
    for &count in &counts[1..] {
        room = (room * 2)
            .checked_sub(u32::from(count))
            .ok_or(Fault::Oversubscribed(name))?;
    }
    let used: u16 = counts.iter().sum();
    if room == 0 {
        Ok(true)
    } else if used == 0 || (used == 1 && counts[1] == 1) {
        Ok(false)
    } else {
        Err(Fault::Incomplete(name))
    }
}

/// The symbols that have a code, in the order of the codes, and how many there are.
fn sort_by_length(
    lengths: &[u8],
    counts: &[u16; MAX_CODE_BITS + 1],
) -> ([u16; LITERAL_COUNT], usize) {
    let mut starts = [0; MAX_CODE_BITS + 2];
    for (length, &count) in counts.iter().enumerate() {
        starts[length + 1] = starts[length] + usize::from(count);
    }
    let used = starts[MAX_CODE_BITS + 1];
    let mut sorted = [0; LITERAL_COUNT];
    for (symbol, &length) in lengths.iter().enumerate() {
        if length > 0 {
            let start = &mut starts[usize::from(length)];
            sorted[*start] = symbol as u16;
            *start += 1;
        }
    }
    (sorted, used)
}

/// Index bits of the second-level table whose first code has `len` bits: as many as its longest
/// code needs, with `left` codes of each length still to be placed.
fn second_width(left: &[u16; MAX_CODE_BITS + 1], len: u32, root_bits: u32) -> u32 {
    let mut width = len - root_bits;
    let mut room = 1_u32 << width;
    for &count in &left[len as usize..MAX_CODE_BITS] {
        let count = u32::from(count);
        if count >= room {
            break;
        }
        room = (room - count) * 2;
        width += 1;
    }
    width
}
