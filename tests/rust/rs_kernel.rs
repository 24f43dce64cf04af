//! Every kernel that this machine has against the rule, at all lengths and places.

use shardpack::{
    cpu,
    rs::{
        field::{Matrix, parity_rows},
        kernel::Kernel,
    },
};

use crate::{naive, vectors::make};

/// Bytes before and after each output, which no kernel may touch.
const GUARD: usize = 70;

/// One call of a kernel, with inputs and outputs at odd places.
struct Case<'a> {
    matrix: &'a Matrix,
    len: usize,
    start: usize,
    skew: usize,
    accumulate: bool,
}

impl Case<'_> {
    fn inputs(&self) -> Vec<Vec<u8>> {
        let whole = make(
            "noise",
            "inputs",
            (self.matrix.columns() + self.len + 300) * 31,
        );
        let input = |index: usize| {
            let from = index * 29 + self.skew;
            whole[from..from + self.start + self.len].to_vec()
        };
        (0..self.matrix.columns()).map(input).collect()
    }

    fn outputs(&self) -> Vec<Vec<u8>> {
        let output = |index: usize| make("cycle", "", 2 * GUARD + self.skew + self.len + index);
        (0..self.matrix.rows()).map(output).collect()
    }

    fn run(&self, kernel: Kernel) -> Vec<Vec<u8>> {
        let inputs = self.inputs();
        let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
        let mut outputs = self.outputs();
        let from = GUARD + self.skew;
        let mut places: Vec<&mut [u8]> = outputs
            .iter_mut()
            .map(|output| &mut output[from..from + self.len])
            .collect();
        kernel.dot(
            self.matrix,
            &inputs,
            self.start,
            &mut places,
            self.accumulate,
        );
        outputs
    }

    fn naive(&self) -> Vec<Vec<u8>> {
        let inputs = self.inputs();
        let mut outputs = self.outputs();
        for (row, output) in outputs.iter_mut().enumerate() {
            for at in 0..self.len {
                let place = &mut output[GUARD + self.skew + at];
                if !self.accumulate {
                    *place = 0;
                }
                for (input, coefficient) in inputs.iter().zip(self.matrix.row(row)) {
                    *place ^= naive::gf_mul(*coefficient, input[self.start + at]);
                }
            }
        }
        outputs
    }

    fn check(&self) {
        let expected = self.run(Kernel::Scalar);
        for kernel in kernels() {
            assert!(
                self.run(kernel) == expected,
                "{} {}x{} len {} start {} skew {} accumulate {}",
                kernel.name(),
                self.matrix.rows(),
                self.matrix.columns(),
                self.len,
                self.start,
                self.skew,
                self.accumulate
            );
        }
    }
}

fn kernels() -> impl Iterator<Item = Kernel> {
    Kernel::ALL.into_iter().filter(|kernel| kernel.available())
}

/// A matrix with all kinds of coefficients, 0 and 1 among them.
fn matrix(rows: usize, columns: usize) -> Matrix {
    let mut coefficients = make("noise", "coefficients", rows * columns);
    for (place, coefficient) in coefficients.iter_mut().enumerate() {
        if place % 7 == 3 {
            *coefficient = (place % 2) as u8;
        }
    }
    Matrix::new(columns, coefficients)
}

#[test]
fn the_levels_of_this_machine_have_their_kernels() {
    for level in cpu::levels() {
        let kernel = Kernel::ALL.into_iter().find(|one| one.name() == level);
        assert!(kernel.is_some(), "no kernel for {level}");
    }
    assert_eq!(Kernel::best().name(), cpu::level());
}

#[test]
fn tables_give_what_the_rule_says() {
    for (rows, columns) in [(1, 1), (3, 2), (4, 8), (5, 9), (9, 17)] {
        for len in [1, 2, 63, 64, 65, 100] {
            for accumulate in [false, true] {
                let case = Case {
                    matrix: &matrix(rows, columns),
                    len,
                    start: 3,
                    skew: 1,
                    accumulate,
                };
                assert!(
                    case.run(Kernel::Scalar) == case.naive(),
                    "{rows}x{columns} {len}"
                );
            }
        }
    }
}

#[test]
fn all_kernels_agree_at_every_length_and_place() {
    for (rows, columns) in [(1, 1), (2, 5), (4, 10), (3, 17), (9, 4)] {
        let matrix = matrix(rows, columns);
        for len in 1..=300 {
            let case = Case {
                matrix: &matrix,
                len,
                start: len % 5,
                skew: len % 67,
                accumulate: len % 2 == 0,
            };
            case.check();
            Case {
                accumulate: len % 2 == 1,
                ..case
            }
            .check();
        }
    }
}

#[test]
fn all_kernels_agree_for_every_shape() {
    for columns in 1..=20 {
        for rows in 1..=10 {
            let case = Case {
                matrix: &matrix(rows, columns),
                len: 200 + 13 * rows + columns,
                start: 1,
                skew: columns,
                accumulate: (rows + columns) % 2 == 0,
            };
            case.check();
        }
    }
    for (k, m) in [(64, 32), (255, 1), (1, 255), (128, 128)] {
        for len in [31, 1000] {
            let case = Case {
                matrix: &parity_rows(k, m),
                len,
                start: 0,
                skew: 0,
                accumulate: false,
            };
            case.check();
        }
    }
}

#[test]
fn all_kernels_agree_across_blocks() {
    for (rows, columns, len) in [(5, 3, 20_000), (3, 100, 9_999), (17, 9, 8_193)] {
        for accumulate in [false, true] {
            let case = Case {
                matrix: &matrix(rows, columns),
                len,
                start: 7,
                skew: 5,
                accumulate,
            };
            case.check();
        }
    }
}

#[test]
fn all_kernels_know_every_coefficient() {
    for first in (0..=255_u8).step_by(16) {
        let coefficients: Vec<u8> = (first..=first + 15).collect();
        let case = Case {
            matrix: &Matrix::new(4, coefficients),
            len: 256,
            start: 0,
            skew: 0,
            accumulate: false,
        };
        case.check();
    }
}

#[test]
fn only_what_all_slices_have_is_made() {
    for kernel in kernels() {
        let matrix = matrix(2, 2);
        let (long, short) = (make("noise", "long", 100), make("noise", "short", 90));
        let mut outputs = [vec![9; 95], vec![9; 80], vec![9; 99]];
        let [a, b, c] = &mut outputs;
        kernel.dot(&matrix, &[&long, &short, &long], 20, &mut [a, b, c], false);
        let product = |row: usize, at: usize| {
            let row = matrix.row(row);
            naive::gf_mul(row[0], long[20 + at]) ^ naive::gf_mul(row[1], short[20 + at])
        };
        for (row, output) in outputs.iter().enumerate() {
            for (at, byte) in output.iter().enumerate() {
                let expected = if row < 2 && at < 70 {
                    product(row, at)
                } else {
                    9
                };
                assert_eq!(*byte, expected, "{} row {row} at {at}", kernel.name());
            }
        }
        // No input at all sums up to nothing.
        let mut output = [7; 40];
        kernel.dot(&matrix, &[], 0, &mut [&mut output], true);
        assert_eq!(output, [7; 40]);
        kernel.dot(&matrix, &[&long], 100, &mut [&mut output], false);
        assert_eq!(output, [7; 40]);
        kernel.dot(&matrix, &[], 0, &mut [&mut output], false);
        assert_eq!(output, [0; 40]);
    }
}
