//! The definition as plain loops.

use super::Job;
use crate::tensor::Tensor;

/// `y[n][p][q][c] = 1/K sum_{u, v} x[n][p S + u][q S + v][c]`
pub(crate) fn forward(job: &Job, x: &Tensor) -> Tensor {
    let (x, area) = (x.data(), (job.kernel[0] * job.kernel[1]) as f32);
    let mut y = vec![0.0; job.out_dims().iter().product()];
    for_each_pair(job, |xi, yi| y[yi] += x[xi]);
    y.iter_mut().for_each(|y| *y /= area);
    Tensor::computed(y, &job.out_dims())
}

/// `dx[n][i][j][c] = 1/K sum dy[n][p][q][c]`, over the windows that cover `(i, j)`
pub(crate) fn backward(job: &Job, dy: &Tensor) -> Tensor {
    let (dy, area) = (dy.data(), (job.kernel[0] * job.kernel[1]) as f32);
    let mut dx = vec![0.0; job.in_dims().iter().product()];
    for_each_pair(job, |xi, yi| dx[xi] += dy[yi] / area);
    Tensor::computed(dx, &job.in_dims())
}

/// Calls `body(xi, yi)` with the index of each element of `y` and that of each element of `x` under its window.
fn for_each_pair(job: &Job, mut body: impl FnMut(usize, usize)) {
    let &Job {
        input: [height, width],
        output: [out_height, out_width],
        channels,
        kernel,
        stride,
        ..
    } = job;
    let mut yi = 0;
    for n in 0..job.batch {
        for p in 0..out_height {
            for q in 0..out_width {
                for c in 0..channels {
                    for u in 0..kernel[0] {
                        for v in 0..kernel[1] {
                            let (i, j) = (p * stride[0] + u, q * stride[1] + v);
                            body(((n * height + i) * width + j) * channels + c, yi);
                        }
                    }
                    yi += 1;
                }
            }
        }
    }
}
