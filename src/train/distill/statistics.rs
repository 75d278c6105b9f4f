//! Passes over all rows of a target file: mean and standard deviation of its columns, and faulty rows.
//!
//! The rows are divided into parts by their number alone, and the sums of the parts are added in order. The result is
//! therefore the same on any number of threads.

use crate::cpu::threads;
use crate::data::Rows;

/// Maximum number of parts in a pass; each holds two sums for every column.
const PARTS: usize = 256;

/// Minimum number of rows in a part.
const ROWS: usize = 512;

/// Lower bound of a column's deviation, relative to the root mean square of all deviations. A column that varies less
/// is not scaled up to the variance of the others.
const LEAST_SHARE: f64 = 1e-3;

/// Largest accepted absolute value of a feature or a logit; sums of larger values could overflow.
pub const LARGEST: f32 = 1e15;

/// Returns whether a number is finite and at most [`LARGEST`] in magnitude.
pub fn is_usable(x: f32) -> bool {
    x.abs() <= LARGEST
}

/// Mean and standard deviation of each column.
#[derive(Clone, Debug, PartialEq)]
pub struct Standard {
    /// The mean.
    pub mean: Vec<f32>,
    /// The standard deviation, above zero.
    pub deviation: Vec<f32>,
}

impl Standard {
    /// Computes `row = (row - mean) / deviation`.
    pub fn apply(&self, row: &mut [f32]) {
        let columns = self.mean.iter().zip(&self.deviation);
        for (x, (mean, deviation)) in row.iter_mut().zip(columns) {
            *x = (*x - mean) / deviation;
        }
    }
}

/// Sums over the rows of one part, or the first row with an unusable number.
type Sums = Result<(Vec<f64>, Vec<f64>), usize>;

/// Computes mean and standard deviation of each column; fails with the first row that holds an unusable number.
pub fn standard(rows: &Rows) -> Result<Standard, usize> {
    let size = rows.size();
    let parts: Vec<Sums> = over_parts(rows, |row_numbers| {
        let (mut sums, mut squares) = (vec![0.0f64; size], vec![0.0f64; size]);
        let mut row = vec![0.0f32; size];
        for i in row_numbers {
            if rows.read(i, &mut row).is_err() || !row.iter().all(|&x| is_usable(x)) {
                return Err(i);
            }
            for ((sum, square), &x) in sums.iter_mut().zip(&mut squares).zip(&row) {
                let x = f64::from(x);
                *sum += x;
                *square += x * x;
            }
        }
        Ok((sums, squares))
    });
    let (mut sums, mut squares) = (vec![0.0f64; size], vec![0.0f64; size]);
    for part in parts {
        let (part_sums, part_squares) = part?;
        sums.iter_mut().zip(part_sums).for_each(|(a, b)| *a += b);
        squares
            .iter_mut()
            .zip(part_squares)
            .for_each(|(a, b)| *a += b);
    }
    let n = rows.len() as f64;
    let variance = |sum: &f64, square: &f64| (square / n - (sum / n).powi(2)).max(0.0);
    let variances: Vec<f64> = sums
        .iter()
        .zip(&squares)
        .map(|(s, q)| variance(s, q))
        .collect();
    let typical = (variances.iter().sum::<f64>() / size as f64).sqrt();
    // If no column varies at all, there is nothing to scale.
    let least = if typical > 0.0 {
        typical * LEAST_SHARE
    } else {
        1.0
    };
    Ok(Standard {
        mean: sums.iter().map(|sum| (sum / n) as f32).collect(),
        deviation: variances
            .iter()
            .map(|v| v.sqrt().max(least) as f32)
            .collect(),
    })
}

/// Returns the first row for which `problem` finds a fault, and the fault.
pub fn first_problem<T: Send>(
    rows: &Rows,
    problem: impl Fn(&[f32]) -> Option<T> + Sync,
) -> Option<(usize, T)> {
    let parts = over_parts(rows, |row_numbers| {
        let mut row = vec![0.0f32; rows.size()];
        for i in row_numbers {
            rows.read(i, &mut row).ok()?;
            if let Some(what) = problem(&row) {
                return Some((i, what));
            }
        }
        None
    });
    parts.into_iter().flatten().next()
}

fn over_parts<R: Send>(rows: &Rows, body: impl Fn(std::ops::Range<usize>) -> R + Sync) -> Vec<R> {
    let each = rows.len().div_ceil(PARTS).max(ROWS);
    let count = rows.len().div_ceil(each);
    threads::map(count, |part| {
        let result = body(part * each..((part + 1) * each).min(rows.len()));
        rows.release();
        result
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::data::weights::{NumberFormat, WeightFile, write_weights};
    use crate::ops::testing::random;
    use crate::tensor::Tensor;

    fn rows(values: Tensor) -> Rows {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.safetensors");
        let tensors = [("x".to_string(), values)];
        write_weights(&path, &tensors, NumberFormat::F32, HashMap::new()).unwrap();
        WeightFile::open(&path).unwrap().rows("x").unwrap().unwrap()
    }

    #[test]
    fn columns_have_mean_zero_and_deviation_one_afterwards() {
        let mut values = random(&[1700, 3], 1);
        for row in values.data_mut().chunks_mut(3) {
            row[1] = row[1] * 5.0 + 100.0;
            row[2] = 7.0;
        }
        let rows = rows(values);
        let standard = standard(&rows).unwrap();
        let (mut sums, mut squares) = ([0.0f64; 3], [0.0f64; 3]);
        let mut row = [0.0; 3];
        for i in 0..1700 {
            rows.read(i, &mut row).unwrap();
            standard.apply(&mut row);
            for c in 0..3 {
                sums[c] += f64::from(row[c]);
                squares[c] += f64::from(row[c]).powi(2);
            }
        }
        for c in 0..2 {
            assert!((sums[c] / 1700.0).abs() < 1e-4, "{sums:?}");
            assert!((squares[c] / 1700.0 - 1.0).abs() < 1e-3, "{squares:?}");
        }
        // A column that hardly varies stays near zero instead of being scaled up.
        assert!(squares[2] < 1e-6);
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let rows = rows(random(&[2100, 5], 3));
        let one = threads::with_count(1, || standard(&rows)).unwrap();
        let three = threads::with_count(3, || standard(&rows)).unwrap();
        assert_eq!(one, three);
    }

    #[test]
    fn a_number_that_is_not_finite_is_found() {
        let mut values = random(&[1500, 4], 1);
        values.data_mut()[1203 * 4 + 2] = f32::NAN;
        values.data_mut()[1400 * 4] = f32::INFINITY;
        let rows = rows(values);
        assert_eq!(standard(&rows), Err(1203));
        let found = first_problem(&rows, |row| {
            row.iter().any(|x| x.is_infinite()).then_some("inf")
        });
        assert_eq!(found, Some((1400, "inf")));
    }
}
