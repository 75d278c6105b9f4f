//! The definition as plain loops.

use super::Job;
use crate::tensor::Tensor;

/// `y[r][i] = x[r][start + i]`
pub(crate) fn forward(job: &Job, x: &Tensor) -> Tensor {
    let mut y = vec![0.0; job.rows * job.len];
    for r in 0..job.rows {
        for i in 0..job.len {
            y[r * job.len + i] = x.data()[r * job.total + job.start + i];
        }
    }
    Tensor::computed(y, &job.to)
}

/// `dx[r][start + i] = dy[r][i]`, zero elsewhere
pub(crate) fn backward(job: &Job, dy: &Tensor) -> Tensor {
    let mut dx = vec![0.0; job.rows * job.total];
    for r in 0..job.rows {
        for i in 0..job.len {
            dx[r * job.total + job.start + i] = dy.data()[r * job.len + i];
        }
    }
    Tensor::computed(dx, &job.from)
}
