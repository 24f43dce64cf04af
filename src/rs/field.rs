//! GF(2^8) with the polynomial 0x11D and the generator 2, and the matrices of the code over it.
//!
//! Shard `r` of a codeword is `p(r)`, where `p` is the polynomial of degree below `k` that takes the
//! data shards as its values at `0..k`. Lagrange's formula therefore gives every coefficient in
//! closed form, for parity and for lost data alike: with the survivors `S`, the coefficient of
//! survivor `i` for shard `r` is the product of `(r ^ j) / (i ^ j)` over all other `j` in `S`. Products
//! are sums of logarithms here, and a product over all of `0..k` is a few differences of the running
//! sums of [`LOG`], so no matrix is ever inverted.

/// The polynomial that products are reduced by.
const POLYNOMIAL: u16 = 0x11D;

/// The order of the generator.
const ORDER: usize = 255;

/// Powers of the generator, three periods of them: sums of up to three logarithms need no reduction.
pub static EXP: [u8; 3 * ORDER + 1] = exponentials();

/// Logarithms to the base 2; that of 0, which has none, reads as 0.
pub static LOG: [u8; 256] = logarithms();

/// `LOG_SUMS[x]` is the sum of the logarithms below `x`.
static LOG_SUMS: [u16; 257] = logarithm_sums();

/// For each constant `c` the two tables of 16 bytes that multiply by it with byte shuffles:
/// `c * x` is `NIBBLES[c][x & 15] ^ NIBBLES[c][16 + (x >> 4)]`.
pub static NIBBLES: [[u8; 32]; 256] = nibble_tables();

/// For each constant the 8 x 8 bit matrix that multiplies by it, as the instruction
/// `GF2P8AFFINEQB` takes it. (`GF2P8MULB` has another polynomial.)
pub static AFFINE: [u64; 256] = affine_matrices();

const fn exponentials() -> [u8; 3 * ORDER + 1] {
    let mut table = [0; 3 * ORDER + 1];
    let mut power: u16 = 1;
    let mut at = 0;
    while at < table.len() {
        table[at] = power as u8;
        power <<= 1;
        if power > 255 {
            power ^= POLYNOMIAL;
        }
        at += 1;
    }
    table
}

const fn logarithms() -> [u8; 256] {
    let powers = exponentials();
    let mut table = [0; 256];
    let mut at = 0;
    while at < ORDER {
        table[powers[at] as usize] = at as u8;
        at += 1;
    }
    table
}

const fn logarithm_sums() -> [u16; 257] {
    let logarithms = logarithms();
    let mut table = [0; 257];
    let mut at = 0;
    while at < 256 {
        table[at + 1] = table[at] + logarithms[at] as u16;
        at += 1;
    }
    table
}

/// Multiplication by shifts, for the tables of constants.
const fn slow_mul(a: u8, b: u8) -> u8 {
    let (mut shifted, mut rest, mut product) = (a as u16, b, 0);
    while rest > 0 {
        if rest & 1 == 1 {
            product ^= shifted;
        }
        shifted <<= 1;
        if shifted > 255 {
            shifted ^= POLYNOMIAL;
        }
        rest >>= 1;
    }
    product as u8
}

const fn nibble_tables() -> [[u8; 32]; 256] {
    let mut tables = [[0; 32]; 256];
    let mut constant = 0;
    while constant < 256 {
        let mut nibble = 0;
        while nibble < 16 {
            tables[constant][nibble] = slow_mul(constant as u8, nibble as u8);
            tables[constant][16 + nibble] = slow_mul(constant as u8, (nibble << 4) as u8);
            nibble += 1;
        }
        constant += 1;
    }
    tables
}

const fn affine_matrices() -> [u64; 256] {
    let mut matrices = [0; 256];
    let mut constant = 0;
    while constant < 256 {
        let mut bit = 0;
        while bit < 8 {
            // The image of one input bit is a column; output bit `row` lives in byte `7 - row`.
            let image = slow_mul(constant as u8, 1 << bit);
            let mut row = 0;
            while row < 8 {
                matrices[constant] |= ((image >> row & 1) as u64) << (8 * (7 - row) + bit);
                row += 1;
            }
            bit += 1;
        }
        constant += 1;
    }
    matrices
}

/// The product.
#[must_use]
pub fn mul(a: u8, b: u8) -> u8 {
    if a == 0 || b == 0 {
        return 0;
    }
    EXP[usize::from(log(a)) + usize::from(log(b))]
}

/// The number whose product with `a` is 1; for 0, which has none, it is 0.
#[must_use]
pub fn inv(a: u8) -> u8 {
    if a == 0 {
        return 0;
    }
    EXP[ORDER - usize::from(log(a))]
}

fn log(a: u8) -> u8 {
    LOG[usize::from(a)]
}

/// Coefficients: one row for each shard that is made, one column for each shard it is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matrix {
    columns: usize,
    coefficients: Vec<u8>,
}

impl Matrix {
    /// Rows one after the other. Coefficients that fill no whole row are left out.
    #[must_use]
    pub fn new(columns: usize, mut coefficients: Vec<u8>) -> Self {
        let whole = coefficients.len().checked_div(columns).unwrap_or(0) * columns;
        coefficients.truncate(whole);
        Self {
            columns,
            coefficients,
        }
    }

    /// Shards that go in.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Shards that come out.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.coefficients
            .len()
            .checked_div(self.columns)
            .unwrap_or(0)
    }

    /// All coefficients, row after row.
    #[must_use]
    pub fn coefficients(&self) -> &[u8] {
        &self.coefficients
    }

    /// The coefficients of one shard that comes out; none if there is no such row.
    #[must_use]
    pub fn row(&self, row: usize) -> &[u8] {
        let rows = self.coefficients.chunks_exact(self.columns.max(1));
        rows.into_iter().nth(row).unwrap_or_default()
    }
}

/// The rows that make `m` parity shards out of `k` data shards; both sum up to at most 256.
#[must_use]
pub fn parity_rows(k: usize, m: usize) -> Matrix {
    let k = k.min(256);
    decode_rows(&INDEXES[..k], &INDEXES[k..(k + m).min(256)])
}

/// What the data shard `index` contributes to each of `m` parity shards: a column of [`parity_rows`], as
/// rows of one coefficient.
#[must_use]
pub fn parity_column(k: usize, m: usize, index: u8) -> Matrix {
    let k = k.min(256);
    let points = Points::new(&INDEXES[..k]);
    let divisor = usize::from(points.distance(index));
    let parity = INDEXES[k..(k + m).min(256)].iter().map(|&shard| {
        let numerator = usize::from(points.distance(shard)) + 2 * ORDER;
        EXP[numerator - divisor - usize::from(log(shard ^ index))]
    });
    Matrix::new(1, parity.collect())
}

/// The rows that make the shards `missing` out of the shards `survivors`, of which there are as many
/// as data shards. No number occurs twice.
///
/// In O(k + k e) for k survivors with e parity shards among them, plus O(k) for each missing one.
#[must_use]
pub fn decode_rows(survivors: &[u8], missing: &[u8]) -> Matrix {
    let points = Points::new(survivors);
    let divisors = points.distances();
    let mut coefficients = Vec::with_capacity(survivors.len() * missing.len());
    for &shard in missing {
        let numerator = usize::from(points.distance(shard)) + 2 * ORDER;
        let pairs = survivors.iter().zip(&divisors);
        coefficients.extend(pairs.map(|(&index, &divisor)| {
            EXP[numerator - usize::from(divisor) - usize::from(log(shard ^ index))]
        }));
    }
    Matrix::new(survivors.len(), coefficients)
}

/// `count` rows whose products with the shards `shards` of a codeword are all 0. An error in shard `x`
/// alone makes the products `s`, `s x`, `s x x`, ... for some `s` that is not 0.
///
/// They hold for codes with at most `shards.len() - count` data shards.
#[must_use]
pub fn check_rows(shards: &[u8], count: usize) -> Matrix {
    let divisors = Points::new(shards).distances();
    let inverses = divisors.iter().map(|&sum| EXP[ORDER - usize::from(sum)]);
    let mut row: Vec<u8> = inverses.take(shards.len()).collect();
    let mut coefficients = Vec::with_capacity(shards.len() * count);
    for _ in 0..count {
        coefficients.extend_from_slice(&row);
        for (coefficient, &shard) in row.iter_mut().zip(shards) {
            *coefficient = mul(*coefficient, shard);
        }
    }
    Matrix::new(shards.len(), coefficients)
}

/// All shard indexes.
static INDEXES: [u8; 256] = {
    let mut indexes = [0; 256];
    let mut at = 0;
    while at < 256 {
        indexes[at] = at as u8;
        at += 1;
    }
    indexes
};

/// A set of shard indexes, kept as its difference from the first ones.
struct Points<'a> {
    all: &'a [u8],
    absent: Vec<u8>,
    beyond: Vec<u8>,
}

impl<'a> Points<'a> {
    fn new(all: &'a [u8]) -> Self {
        let first = &INDEXES[..all.len().min(256)];
        if all == first {
            let (absent, beyond) = (Vec::new(), Vec::new());
            return Self {
                all,
                absent,
                beyond,
            };
        }
        let mut is_present = [false; 256];
        for &point in all {
            is_present[usize::from(point)] = true;
        }
        let absent = first.iter().filter(|&&one| !is_present[usize::from(one)]);
        let beyond = all.iter().filter(|&&one| usize::from(one) >= all.len());
        Self {
            all,
            absent: absent.copied().collect(),
            beyond: beyond.copied().collect(),
        }
    }

    /// The logarithm of the product of `point ^ j` over all points `j` other than `point`.
    fn distance(&self, point: u8) -> u8 {
        let sum = |others: &[u8]| {
            let logarithms = others.iter().map(|&other| usize::from(log(point ^ other)));
            logarithms.sum::<usize>()
        };
        let whole = distance_to_first(point, self.all.len());
        let changed = whole + sum(&self.beyond) + ORDER * self.absent.len() - sum(&self.absent);
        (changed % ORDER) as u8
    }

    /// [`Points::distance`] of each point.
    fn distances(&self) -> [u8; 256] {
        let mut distances = [0; 256];
        for (distance, &point) in distances.iter_mut().zip(self.all) {
            *distance = self.distance(point);
        }
        distances
    }
}

/// The sum of the logarithms of `point ^ j` for all `j` below `k` other than `point`.
///
/// `0..k` falls apart into aligned blocks, one for each bit of `k`, and `^ point` maps an aligned
/// block onto another one of the same size.
fn distance_to_first(point: u8, k: usize) -> usize {
    let mut sum = 0;
    let mut rest = k.min(256);
    while rest > 0 {
        let size = 1 << rest.trailing_zeros();
        rest -= size;
        let start = (usize::from(point) ^ rest) & !(size - 1);
        sum += usize::from(LOG_SUMS[start + size] - LOG_SUMS[start]);
    }
    sum
}
