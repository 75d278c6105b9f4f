//! Principal components: the directions in which vectors vary most.
//!
//! Rows `x[n]` of a matrix `[N, D]` with the mean `m` have the covariance
//!
//! ```text
//! C = 1/N sum over n of (x[n] - m) (x[n] - m)^T
//! ```
//!
//! The eigenvectors of `C` with the largest eigenvalues are these directions. Orthogonal iteration finds them together
//! (Golub and Van Loan, "Matrix Computations", section 7.3.2): it multiplies some vectors by `C`, makes them orthonormal
//! again, and repeats. Each round shrinks the error, the part outside the wanted directions, by the ratio of the largest
//! eigenvalue outside to the smallest eigenvalue inside.

use crate::error::{Error, Result};
use crate::nn::Init;
use crate::ops;
use crate::tensor::{Device, Tensor};

/// Rounds of the iteration. Directions with nearly equal eigenvalues converge slowly, but are equally good.
const ROUNDS: usize = 40;

/// The mean `[D]` of the rows of `x` `[N, D]`, and the `count` orthonormal directions in which they vary most,
/// `[count, D]`.
///
/// # Errors
/// If there are no rows, or `count` is 0 or above the number of elements of a row.
pub fn directions(x: &Tensor, count: usize) -> Result<(Vec<f32>, Tensor)> {
    let x = x.to(&Device::Cpu)?;
    let &[rows, width] = x.dims() else {
        return Err(Error::shape("directions", "[N, D]", x.shape()));
    };
    if rows == 0 || count == 0 || count > width {
        let what = format_args!("{count} directions of {rows} rows of {width} elements");
        return Err(Error::value("directions", what));
    }
    let mut sums = vec![0.0f64; width];
    for row in x.data().chunks(width) {
        sums.iter_mut()
            .zip(row)
            .for_each(|(s, v)| *s += f64::from(*v));
    }
    let mean: Vec<f32> = sums.iter().map(|s| (s / rows as f64) as f32).collect();
    let mut centred = x.data().to_vec();
    for row in centred.chunks_mut(width) {
        row.iter_mut().zip(&mean).for_each(|(v, m)| *v -= m);
    }
    let centred = Tensor::from_vec(centred, &[rows, width])?;
    let covariance = ops::matmul(&transposed(&centred)?, &centred)?;

    let start = Init::new(1).uniform(&[count, width], 1.0);
    let mut directions = orthonormal(start.data(), width);
    for _ in 0..ROUNDS {
        let now = Tensor::from_vec(directions, &[count, width])?;
        directions = orthonormal(ops::matmul(&now, &covariance)?.data(), width);
    }
    Ok((mean, Tensor::from_vec(directions, &[count, width])?))
}

/// Transposes a matrix `[N, D]` to `[D, N]`.
///
/// # Errors
/// If `x` is not a matrix.
pub fn transposed(x: &Tensor) -> Result<Tensor> {
    let &[rows, width] = x.dims() else {
        return Err(Error::shape("transposed", "[N, D]", x.shape()));
    };
    let data = x.data();
    let transposed = (0..width).flat_map(|c| (0..rows).map(move |r| data[r * width + c]));
    Tensor::from_vec(transposed.collect(), &[width, rows])
}

/// Makes rows orthonormal, one after the other, with the Gram-Schmidt process applied twice, which suffices (Giraud et al.,
/// 2005). A row in the span of the rows before it is replaced by the first axis that is not in their span.
fn orthonormal(rows: &[f32], width: usize) -> Vec<f32> {
    let mut done: Vec<Vec<f64>> = Vec::new();
    for row in rows.chunks(width) {
        let row: Vec<f64> = row.iter().map(|&v| f64::from(v)).collect();
        let axes = (0..width).map(|axis| {
            let mut unit = vec![0.0; width];
            unit[axis] = 1.0;
            unit
        });
        let next = std::iter::once(row)
            .chain(axes)
            .find_map(|candidate| without(candidate, &done));
        done.extend(next);
    }
    done.iter().flatten().map(|&v| v as f32).collect()
}

/// The component of a row orthogonal to `directions`, scaled to length 1; `None` if it is nearly zero.
fn without(mut row: Vec<f64>, directions: &[Vec<f64>]) -> Option<Vec<f64>> {
    let length = |row: &[f64]| row.iter().map(|v| v * v).sum::<f64>().sqrt();
    let before = length(&row);
    for _ in 0..2 {
        for direction in directions {
            let along: f64 = row.iter().zip(direction).map(|(a, b)| a * b).sum();
            row.iter_mut()
                .zip(direction)
                .for_each(|(v, d)| *v -= along * d);
        }
    }
    let after = length(&row);
    (after > 1e-9 * before && after > 0.0).then(|| row.iter().map(|v| v / after).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, random};

    #[test]
    fn the_directions_of_most_variance_are_found() {
        // Large along (1, 1, 0), less along (1, -1, 0), none along the third axis.
        let (a, b) = (random(&[200], 1), random(&[200], 2));
        let rows = a
            .data()
            .iter()
            .zip(b.data())
            .flat_map(|(a, b)| [9.0 * a + b + 5.0, 9.0 * a - b, 2.0]);
        let x = Tensor::from_vec(rows.collect(), &[200, 3]).unwrap();
        let (mean, found) = directions(&x, 2).unwrap();
        assert!((mean[2] - 2.0).abs() < 1e-5);
        let half = 0.5f32.sqrt();
        let first: Vec<f32> = found.data()[..3].iter().map(|v| v.abs()).collect();
        assert_close("first", &first, &[half, half, 0.0], 0.02);
        let gram = ops::linear(&found, &found, None).unwrap();
        assert_close("orthonormal", gram.data(), &[1.0, 0.0, 0.0, 1.0], 1e-5);
        // More directions are wanted than have any variance.
        let (_, all) = directions(&x, 3).unwrap();
        let gram = ops::linear(&all, &all, None).unwrap();
        assert_close(
            "all",
            gram.data(),
            &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
            1e-5,
        );
    }

    #[test]
    fn what_has_no_directions_is_refused() {
        assert!(directions(&random(&[4], 1), 1).is_err());
        assert!(directions(&random(&[4, 3], 1), 4).is_err());
        assert!(directions(&random(&[4, 3], 1), 0).is_err());
    }
}
