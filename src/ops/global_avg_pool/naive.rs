//! The definition as plain loops.

use super::Job;
use crate::tensor::Tensor;

/// `y[n][c] = 1/(H W) sum_{i, j} x[n][i][j][c]`
pub(crate) fn forward(job: &Job, x: &Tensor) -> Tensor {
    let (x, pixels, channels) = (x.data(), job.pixels(), job.channels);
    let mut y = vec![0.0; job.batch * channels];
    for n in 0..job.batch {
        for c in 0..channels {
            let mut sum = 0.0;
            for pixel in 0..pixels {
                sum += x[(n * pixels + pixel) * channels + c];
            }
            y[n * channels + c] = sum / pixels as f32;
        }
    }
    Tensor::computed(y, &job.out_dims())
}

/// `dx[n][i][j][c] = dy[n][c] / (H W)`
pub(crate) fn backward(job: &Job, dy: &Tensor) -> Tensor {
    let (dy, pixels, channels) = (dy.data(), job.pixels(), job.channels);
    let mut dx = vec![0.0; job.batch * pixels * channels];
    for n in 0..job.batch {
        for pixel in 0..pixels {
            for c in 0..channels {
                dx[(n * pixels + pixel) * channels + c] = dy[n * channels + c] / pixels as f32;
            }
        }
    }
    Tensor::computed(dx, &job.in_dims())
}
