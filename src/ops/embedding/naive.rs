//! The definition as plain loops.

use super::Job;
use crate::tensor::Tensor;

/// `y[r] = W[ids[r]]`
pub(crate) fn forward(job: &Job) -> Tensor {
    let (weight, width) = (job.weight.data(), job.width);
    let mut y = vec![0.0; job.ids.len() * width];
    for (r, id) in job.ids.iter().enumerate() {
        for e in 0..width {
            y[r * width + e] = weight[id * width + e];
        }
    }
    Tensor::computed(y, &[job.ids.len(), width])
}

/// `dW[ids[r]] += dy[r]`
pub(crate) fn backward(job: &Job, dy: &Tensor) -> Tensor {
    let (dy, width) = (dy.data(), job.width);
    let mut dw = vec![0.0; job.rows * width];
    for (r, id) in job.ids.iter().enumerate() {
        for e in 0..width {
            dw[id * width + e] += dy[r * width + e];
        }
    }
    Tensor::computed(dw, &[job.rows, width])
}
