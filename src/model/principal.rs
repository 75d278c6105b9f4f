//! The directions in which vectors vary most (principal components).
//!
//! Rows `x[n]` of a matrix `[N, D]` with the mean `m` have the covariance
//!
//! ```text
//! C = 1/N sum over n of (x[n] - m) (x[n] - m)^T
//! ```
//!
//! Its eigenvectors with the largest eigenvalues are those directions. They are found together by orthogonal iteration
//! (Golub and Van Loan, "Matrix Computations", section 7.3.2): multiply some vectors by `C`, make them orthonormal again,
//! repeat. Each round shrinks what lies outside the wanted directions by the ratio of the eigenvalues.

use crate::error::{Error, Result};
use crate::nn::Init;
use crate::ops;
use crate::tensor::{Device, Tensor};

/// Enough for directions that matter: those whose eigenvalues are nearly equal are as good as each other.
const ROUNDS: usize = 40;

/// The mean `[D]` of the rows of `x [N, D]`, and the `count` orthonormal directions in which they vary most,
/// `[count, D]`.
///
/// # Errors
/// Where there are no rows, or more directions are asked for than the rows have elements.
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

/// A matrix `[N, D]` as `[D, N]`.
///
/// # Errors
/// Where it is no matrix.
pub fn transposed(x: &Tensor) -> Result<Tensor> {
    let &[rows, width] = x.dims() else {
        return Err(Error::shape("transposed", "[N, D]", x.shape()));
    };
    let data = x.data();
    let turned = (0..width).flat_map(|c| (0..rows).map(move |r| data[r * width + c]));
    Tensor::from_vec(turned.collect(), &[width, rows])
}

/// Gram and Schmidt's method, twice over, which is enough (Giraud et al., 2005): rows become orthonormal, one after the
/// other. A row that nothing is left of, for the rows before it span it, becomes an axis that they do not.
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

/// What is left of a row without its parts along `directions`, at length 1; none where that is nearly nothing.
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
        // More directions than there is variance in.
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
