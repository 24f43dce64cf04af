//! The loop that all vector kernels share; they differ in how long a vector is and how it is multiplied.
//!
//! Outputs are made in tiles of a few rows by two vectors, which stay in registers while the inputs go by:
//! each vector of an input is loaded once for all rows of the tile. Inputs come in groups, because more
//! than about eight streams fall on the same sets of the L1 cache and outrun the prefetchers; between
//! groups a tile rests in the L1 cache. The columns come in blocks, so that the inputs of a block stay in
//! the L2 cache while all tiles of rows pass over them.
#![expect(unsafe_code, reason = "vectors are loaded and stored through pointers")]
#![expect(
    clippy::inline_always,
    reason = "what is inlined into the function with the instruction set is compiled for it"
)]

use crate::rs::kernel::{Job, scalar};

/// Most inputs of a group.
pub const GROUP: usize = 10;
/// Most rows of a tile.
const ROWS: usize = 8;
/// Columns of a block, at most and at least, and the bytes that all inputs of a block may take.
const BLOCK: (usize, usize) = (4 << 10, 1 << 10);
const BLOCK_INPUTS: usize = 256 << 10;

/// One operation of a [`Vector`].
macro_rules! vector {
    ($operation:expr) => {
        // SAFETY: what the operation needs is what the trait asks of its callers.
        unsafe { $operation }
    };
}
pub(crate) use vector;

/// What all vectors of x86 below AVX-512 have in common: they differ in the names of instructions.
/// A tail is a whole vector that ends with it, and a mask for the bytes before it.
#[cfg(target_arch = "x86_64")]
macro_rules! unmasked_memory {
    ($zero:ident, $load:ident, $store:ident, $xor:ident, $and:ident, $andnot:ident) => {
        #[inline(always)]
        unsafe fn zero() -> Self {
            vector!(Self($zero()))
        }

        #[inline(always)]
        unsafe fn load(at: *const u8) -> Self {
            vector!(Self($load(at.cast())))
        }

        #[inline(always)]
        unsafe fn store(self, at: *mut u8) {
            vector!($store(at.cast(), self.0));
        }

        #[inline(always)]
        unsafe fn tail(len: usize) -> (Self, usize) {
            let masks = TAIL_MASKS.as_ptr().cast::<u8>();
            vector!((Self::load(masks.add(32 - Self::LEN + len)), Self::LEN - len))
        }

        #[inline(always)]
        unsafe fn load_tail(at: *const u8, (mask, before): (Self, usize)) -> Self {
            vector!(Self($and(mask.0, Self::load(at.sub(before)).0)))
        }

        #[inline(always)]
        unsafe fn load_around(at: *const u8, (mask, before): (Self, usize)) -> Self {
            vector!(Self($andnot(mask.0, Self::load(at.sub(before)).0)))
        }

        #[inline(always)]
        unsafe fn store_tail(self, at: *mut u8, (_, before): (Self, usize)) {
            vector!(self.store(at.sub(before)));
        }

        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            vector!(Self($xor(self.0, other.0)))
        }
    };
}
#[cfg(target_arch = "x86_64")]
pub(crate) use unmasked_memory;

/// Ones where a vector has the last bytes, as many as a tail has; to be loaded at the tail's length.
pub static TAIL_MASKS: [[u8; 32]; 2] = [[0; 32], [0xFF; 32]];

/// Vectors of one instruction set, and how it multiplies.
///
/// # Safety
/// All functions need the instruction set. Loads and stores move as many bytes as a vector has; the
/// tail's move `len` bytes at `at`, but may touch as many bytes before their end as a vector has.
pub trait Vector: Copy {
    /// Bytes of a vector.
    const LEN: usize;
    /// Whether a tail touches nothing but itself.
    const EXACT_TAILS: bool;
    /// Whether two inputs are best multiplied at a time. It takes more registers.
    const PAIRS: bool;
    /// [`run`] with the instruction set switched on, for 1, 2, ... rows.
    const TILES: &'static [unsafe fn(&Tile<'_>)];
    /// What multiplies by one coefficient.
    type Table: Copy;
    /// A vector made ready to be multiplied.
    type Factor: Copy;
    /// Which bytes a tail has.
    type Tail: Copy;

    fn table(coefficient: u8) -> Self::Table;
    unsafe fn zero() -> Self;
    unsafe fn load(at: *const u8) -> Self;
    unsafe fn store(self, at: *mut u8);
    unsafe fn tail(len: usize) -> Self::Tail;
    /// The bytes of the tail, zeros elsewhere.
    unsafe fn load_tail(at: *const u8, tail: Self::Tail) -> Self;
    /// What stands around a tail, with zeros in its place.
    unsafe fn load_around(at: *const u8, tail: Self::Tail) -> Self;
    unsafe fn store_tail(self, at: *mut u8, tail: Self::Tail);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn factor(self) -> Self::Factor;
    /// This plus the factor times the coefficient of the table.
    unsafe fn add_product(self, factor: Self::Factor, table: &Self::Table) -> Self;

    /// As two calls of [`Vector::add_product`].
    #[inline(always)]
    unsafe fn add_products(self, factors: [Self::Factor; 2], tables: [&Self::Table; 2]) -> Self {
        let first = vector!(self.add_product(factors[0], tables[0]));
        vector!(first.add_product(factors[1], tables[1]))
    }
}

/// Some rows of some columns, from a group of inputs.
pub struct Tile<'a> {
    job: &'a Job<'a>,
    /// The first of the inputs, and how many there are.
    column: usize,
    columns: usize,
    row: usize,
    /// The first byte of each input and output.
    inputs: [*const u8; GROUP],
    outputs: [*mut u8; ROWS],
    len: usize,
    /// Whether the sums are added to what is there.
    keep: bool,
}

/// As [`crate::rs::kernel::Kernel::dot`].
///
/// # Safety
/// The instruction set of `V` must be there.
pub unsafe fn dot<V: Vector>(job: &Job<'_>, outputs: &mut [&mut [u8]]) {
    if job.len < V::LEN && !V::EXACT_TAILS {
        return scalar::dot_few(job, 0, outputs);
    }
    let row_tile = V::TILES.len().min(ROWS);
    let block = if outputs.len() <= row_tile && job.inputs.len() <= GROUP {
        // One pass: nothing comes back to what has gone by.
        job.len
    } else if job.inputs.len() * BLOCK.0 <= BLOCK_INPUTS {
        BLOCK.0
    } else {
        (BLOCK_INPUTS / job.inputs.len()).max(BLOCK.1) & !127
    };
    for start in (0..job.len).step_by(block) {
        let len = block.min(job.len - start);
        for (row, rows) in even_parts(outputs.len(), row_tile) {
            let mut pointers = [std::ptr::null_mut(); ROWS];
            for (pointer, output) in pointers.iter_mut().zip(&mut outputs[row..row + rows]) {
                *pointer = output[start..].as_mut_ptr();
            }
            for (column, columns) in even_parts(job.inputs.len(), GROUP) {
                let mut inputs = [std::ptr::null(); GROUP];
                for (pointer, input) in inputs.iter_mut().zip(&job.inputs[column..column + columns])
                {
                    *pointer = input[job.start + start..].as_ptr();
                }
                let tile = Tile {
                    job,
                    column,
                    columns,
                    row,
                    inputs,
                    outputs: pointers,
                    len,
                    keep: job.accumulate || column > 0,
                };
                // SAFETY: the caller has the instruction set. The first `columns` inputs and `rows`
                // outputs have `len` bytes (`Job`). A tail that touches more lies in an output of a
                // whole vector at least, as does each input.
                unsafe { V::TILES[rows - 1](&tile) };
            }
        }
    }
}

/// `count` things in as few parts as possible of at most `most`, about equally many in each: where
/// each part starts, and how many it has.
fn even_parts(count: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let parts = count.div_ceil(most);
    // Divisions would be felt in short calls, most of which have one part.
    let (len, longer) = if parts < 2 {
        (count, 0)
    } else {
        (count / parts, count % parts)
    };
    (0..parts).map(move |part| {
        let start = part * len + part.min(longer);
        (start, len + usize::from(part < longer))
    })
}

/// An input, and what multiplies it for each row.
#[derive(Clone, Copy)]
struct Source<V: Vector, const ROWS: usize> {
    from: *const u8,
    tables: [V::Table; ROWS],
}

/// One tile. To be inlined where the instruction set is switched on.
///
/// # Safety
/// The instruction set of `V` must be there, and what the pointers of the tile point to.
#[inline(always)]
pub unsafe fn run<V: Vector, const ROWS: usize, const WIDTH: usize>(tile: &Tile<'_>) {
    let empty = Source::<V, ROWS> {
        from: std::ptr::null(),
        tables: [V::table(0); ROWS],
    };
    let mut sources = [empty; GROUP];
    let sources = &mut sources[..tile.columns.min(GROUP)];
    let width = tile.job.matrix.columns();
    let coefficients = tile.job.matrix.coefficients();
    for (column, source) in sources.iter_mut().enumerate() {
        source.from = tile.inputs[column];
        let first = tile.row * width + tile.column + column;
        let own = coefficients[first.min(coefficients.len())..].iter();
        for (table, &coefficient) in source.tables.iter_mut().zip(own.step_by(width)) {
            *table = V::table(coefficient);
        }
    }
    let mut at = 0;
    // SAFETY: that of the caller; `at` and the vectors from there on lie within `tile.len`.
    unsafe {
        while at + WIDTH * V::LEN <= tile.len {
            step::<V, ROWS, WIDTH>(tile, sources, at);
            at += WIDTH * V::LEN;
        }
        while at + V::LEN <= tile.len {
            step::<V, ROWS, 1>(tile, sources, at);
            at += V::LEN;
        }
        if at < tile.len {
            last::<V, ROWS>(tile, sources, at);
        }
    }
}

/// `WIDTH` vectors of each row.
#[inline(always)]
unsafe fn step<V: Vector, const ROWS: usize, const WIDTH: usize>(
    tile: &Tile<'_>,
    sources: &[Source<V, ROWS>],
    at: usize,
) {
    // SAFETY: that of the caller.
    unsafe {
        let mut sums = [[V::zero(); WIDTH]; ROWS];
        if tile.keep {
            for (row, sums) in sums.iter_mut().enumerate() {
                for (place, sum) in sums.iter_mut().enumerate() {
                    *sum = V::load(tile.outputs[row].add(at + place * V::LEN));
                }
            }
        }
        let paired = if V::PAIRS { sources.len() & !1 } else { 0 };
        let (pairs, singles) = sources.split_at(paired);
        for [first, second] in pairs.as_chunks::<2>().0 {
            let factors = [
                factors::<V, WIDTH>(first.from, at),
                factors::<V, WIDTH>(second.from, at),
            ];
            for (row, sums) in sums.iter_mut().enumerate() {
                let tables = [&first.tables[row], &second.tables[row]];
                for (place, sum) in sums.iter_mut().enumerate() {
                    *sum = sum.add_products([factors[0][place], factors[1][place]], tables);
                }
            }
        }
        for source in singles {
            let factors = factors::<V, WIDTH>(source.from, at);
            for (sums, table) in sums.iter_mut().zip(&source.tables) {
                for (sum, factor) in sums.iter_mut().zip(factors) {
                    *sum = sum.add_product(factor, table);
                }
            }
        }
        for (row, sums) in sums.into_iter().enumerate() {
            for (place, sum) in sums.into_iter().enumerate() {
                sum.store(tile.outputs[row].add(at + place * V::LEN));
            }
        }
    }
}

/// Some vectors of an input.
#[inline(always)]
unsafe fn factors<V: Vector, const WIDTH: usize>(from: *const u8, at: usize) -> [V::Factor; WIDTH] {
    // No closure here: it would not be compiled for the instruction set.
    // SAFETY: that of the caller.
    unsafe {
        let mut factors = [V::zero().factor(); WIDTH];
        for (place, factor) in factors.iter_mut().enumerate() {
            *factor = V::load(from.add(at + place * V::LEN)).factor();
        }
        factors
    }
}

/// What is left when no vector fits any more.
#[inline(always)]
unsafe fn last<V: Vector, const ROWS: usize>(
    tile: &Tile<'_>,
    sources: &[Source<V, ROWS>],
    at: usize,
) {
    // SAFETY: that of the caller.
    unsafe {
        let tail = V::tail(tile.len - at);
        let mut sums = [V::zero(); ROWS];
        for (sum, output) in sums.iter_mut().zip(&tile.outputs) {
            let place = output.add(at).cast_const();
            *sum = V::load_around(place, tail);
            if tile.keep {
                *sum = sum.add(V::load_tail(place, tail));
            }
        }
        for source in sources {
            let factor = V::load_tail(source.from.add(at), tail).factor();
            for (sum, table) in sums.iter_mut().zip(&source.tables) {
                *sum = sum.add_product(factor, table);
            }
        }
        for (sum, output) in sums.into_iter().zip(&tile.outputs) {
            sum.store_tail(output.add(at), tail);
        }
    }
}
