//! Which shards are wrong, where no digest says it.
//!
//! The check rows of a code ([`field::check_rows`]) give 0 on every codeword. On shards with errors at
//! the points `a` and `b` they give, in each column, values `s` with `s[t + 2] = (a ^ b) s[t + 1] ^ a b
//! s[t]` (Peterson, "Encoding and error-correction procedures for the Bose-Chaudhuri codes", 1960). The
//! first columns that are not 0 therefore tell the only set of shards that can be wrong, and one pass
//! over all columns with other check rows tells whether it is.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{
    error::Result,
    memory,
    pool::Cancel,
    rs::{
        columns,
        field::{self, Matrix, inv, mul},
        kernel::Kernel,
        shape,
    },
};

/// Most wrong shards that are looked for.
pub const MAX_ERRORS: usize = 2;

/// Columns that are checked at a time.
const CHECKED: usize = 4 << 10;

/// The smallest set of at most `max_errors` shards without which the others agree with each other,
/// there being at least one shard more than it takes to tell. `None` if there is no such set, or more
/// than one. What is `None` in `shards` is lost and takes no part.
///
/// A diagnosis, no defence: who can change shards can make others look wrong.
///
/// # Errors
/// [`crate::Error::InvalidInput`] for counts that make no code, for shards that are empty or of unequal
/// lengths and for more than [`MAX_ERRORS`] errors; [`crate::Error::Interrupted`].
pub fn locate(
    shards: &[Option<&[u8]>],
    data_shards: usize,
    max_errors: usize,
    cancel: &Cancel,
) -> Result<Option<Vec<usize>>> {
    shape::check_list(shards.len(), data_shards)?;
    if max_errors > MAX_ERRORS {
        return shape::refuse(format!(
            "{max_errors} errors; at most {MAX_ERRORS} can be located"
        ));
    }
    let present = || {
        let all = shards.iter().enumerate();
        all.filter_map(|(index, shard)| Some((index, (*shard)?)))
    };
    let (points, inputs): (Vec<u8>, Vec<&[u8]>) =
        present().map(|(index, shard)| (index as u8, shard)).unzip();
    if points.is_empty() {
        return Ok(None);
    }
    let len = shape::common_len(present().map(|(index, shard)| (index, shard.len())))?;
    let spare = points.len().saturating_sub(data_shards);
    let search = Search {
        checks: field::check_rows(&points, spare),
        spare,
        points,
        inputs,
        len,
        cancel,
    };
    let found = search.run(max_errors)?;
    Ok(found.map(|found| found.into_iter().map(usize::from).collect()))
}

struct Search<'a> {
    points: Vec<u8>,
    inputs: Vec<&'a [u8]>,
    len: usize,
    /// Check rows: as many as there are shards more than data shards.
    checks: Matrix,
    spare: usize,
    cancel: &'a Cancel,
}

impl Search<'_> {
    fn run(&self, max_errors: usize) -> Result<Option<Vec<u8>>> {
        if self.spare == 0 {
            return Ok(None);
        }
        let Some(first) = self.first_nonzero(&self.checks, 0)? else {
            return Ok(Some(Vec::new()));
        };
        if max_errors >= 1
            && self.spare >= 2
            && let Some(found) = self.one(first)?
        {
            return Ok(Some(vec![found]));
        }
        if max_errors >= 2 && self.spare >= 3 {
            return self.two(first);
        }
        Ok(None)
    }

    /// The one shard that is wrong, if one is; `column` is the first that is not 0.
    fn one(&self, column: usize) -> Result<Option<u8>> {
        let values = self.values(column);
        let point = mul(values[1], inv(values[0]));
        if values[0] == 0 || !self.points.contains(&point) {
            return Ok(None);
        }
        let others = self.combine(self.spare - 1, &[point, 1]);
        let wrong = self.first_nonzero(&others, column)?;
        Ok(wrong.is_none().then_some(point))
    }

    /// The two shards that are wrong, if two are and only these two can be.
    fn two(&self, mut column: usize) -> Result<Option<Vec<u8>>> {
        let mut sums = Equations::None;
        loop {
            for triple in self.values(column).windows(3) {
                sums = sums.and([triple[1], triple[0], triple[2]]);
            }
            match sums {
                Equations::Many([u, v, w]) => {
                    // A column that says more has other proportions than this one.
                    let mut rows = self
                        .combine(self.spare - 2, &[u, v])
                        .coefficients()
                        .to_vec();
                    rows.extend(self.combine(self.spare - 2, &[0, w, u]).coefficients());
                    rows.extend(self.combine(self.spare - 2, &[w, 0, v]).coefficients());
                    let rows = Matrix::new(self.points.len(), rows);
                    match self.first_nonzero(&rows, column + 1)? {
                        Some(next) => column = next,
                        None => {
                            return Ok(
                                self.only_pair(|sum, product| mul(sum, u) ^ mul(product, v) == w)
                            );
                        }
                    }
                }
                Equations::One { sum, product } => {
                    let others = self.combine(self.spare - 2, &[product, sum, 1]);
                    let wrong = self.first_nonzero(&others, column)?;
                    let pair = self.only_pair(|one, other| (one, other) == (sum, product));
                    return Ok(pair.filter(|_| wrong.is_none()));
                }
                Equations::None | Equations::Contradiction => return Ok(None),
            }
        }
    }

    /// The only pair of points whose sum and product are as wanted.
    fn only_pair(&self, wanted: impl Fn(u8, u8) -> bool) -> Option<Vec<u8>> {
        let mut found = None;
        for (place, &a) in self.points.iter().enumerate() {
            for &b in &self.points[place + 1..] {
                if wanted(a ^ b, mul(a, b)) {
                    if found.is_some() {
                        return None;
                    }
                    found = Some(vec![a, b]);
                }
            }
        }
        found
    }

    /// The products of the check rows with one column.
    fn values(&self, column: usize) -> Vec<u8> {
        let mut values = vec![0; self.spare];
        let mut outputs: Vec<&mut [u8]> = values.chunks_mut(1).collect();
        let inputs: Vec<&[u8]> = self
            .inputs
            .iter()
            .map(|input| &input[column..=column])
            .collect();
        Kernel::Scalar.dot(&self.checks, &inputs, 0, &mut outputs, false);
        values
    }

    /// `count` rows, the first of them the sum of `factors` times the first check rows, the next one of
    /// the check rows after these.
    fn combine(&self, count: usize, factors: &[u8]) -> Matrix {
        let width = self.points.len();
        let checks = self.checks.coefficients();
        let sum = |at: usize| {
            let terms = factors.iter().zip(checks[at..].iter().step_by(width));
            terms.fold(0, |sum, (&factor, &check)| sum ^ mul(factor, check))
        };
        Matrix::new(width, (0..count * width).map(sum).collect())
    }

    /// The first column from `from` on in which not all products with `rows` are 0.
    fn first_nonzero(&self, rows: &Matrix, from: usize) -> Result<Option<usize>> {
        let kernel = Kernel::best();
        let first = AtomicUsize::new(usize::MAX);
        let work = |range: std::ops::Range<usize>, _: &mut [&mut [u8]]| {
            let mut made = memory::take();
            made.resize(CHECKED.min(range.len()) * rows.rows(), 0);
            for start in (from + range.start..from + range.end).step_by(CHECKED) {
                if start >= first.load(Ordering::Relaxed) {
                    break;
                }
                let count = CHECKED.min(from + range.end - start);
                let mut outputs: Vec<_> = made.chunks_mut(count).take(rows.rows()).collect();
                kernel.dot(rows, &self.inputs, start, &mut outputs, false);
                let is_wrong = |row: &&&mut [u8]| row.iter().fold(0, |any, byte| any | byte) != 0;
                let wrong = outputs.iter().filter(is_wrong);
                let places = wrong.filter_map(|row| row.iter().position(|&byte| byte != 0));
                if let Some(place) = places.min() {
                    first.fetch_min(start + place, Ordering::Relaxed);
                    break;
                }
            }
            memory::give(made);
            Ok(())
        };
        columns::for_each(
            self.len - from,
            self.inputs.len(),
            &mut [],
            self.cancel,
            work,
        )?;
        let first = first.into_inner();
        Ok((first < usize::MAX).then_some(first))
    }
}

/// What is known about the sum and the product of the two points.
#[derive(Debug, Clone, Copy)]
enum Equations {
    /// Nothing.
    None,
    /// `u * sum ^ v * product = w`.
    Many([u8; 3]),
    /// Both.
    One { sum: u8, product: u8 },
    /// That there are no such two.
    Contradiction,
}

impl Equations {
    /// With one more equation.
    fn and(self, equation: [u8; 3]) -> Self {
        let [u, v, w] = equation;
        match self {
            _ if equation == [0; 3] => self,
            Self::Contradiction => self,
            _ if u == 0 && v == 0 => Self::Contradiction,
            Self::None => Self::Many(equation),
            Self::Many(known) => {
                // Cramer's rule.
                let minor =
                    |a: usize, b: usize| mul(equation[a], known[b]) ^ mul(equation[b], known[a]);
                match (minor(0, 1), minor(2, 1), minor(0, 2)) {
                    (0, 0, 0) => self,
                    (0, _, _) => Self::Contradiction,
                    (divisor, sum, product) => Self::One {
                        sum: mul(sum, inv(divisor)),
                        product: mul(product, inv(divisor)),
                    },
                }
            }
            Self::One { sum, product } if mul(u, sum) ^ mul(v, product) == w => self,
            Self::One { .. } => Self::Contradiction,
        }
    }
}
