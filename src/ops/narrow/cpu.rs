//! Copies whole rows. There is nothing to compute, so one version serves every instruction set.

use super::Job;
use crate::cpu::{Isa, memory};
use crate::tensor::Tensor;

/// `y[r][i] = x[r][start + i]`
pub(crate) fn forward(_: Isa, job: &Job, x: &Tensor) -> Tensor {
    let mut y = Vec::with_capacity(job.rows * job.len);
    if job.total > 0 {
        let rows = x.data().chunks_exact(job.total);
        rows.for_each(|row| y.extend_from_slice(&row[job.start..][..job.len]));
    }
    Tensor::computed(y, &job.to)
}

/// `dx[r][start + i] = dy[r][i]`, zero elsewhere
pub(crate) fn backward(_: Isa, job: &Job, dy: &Tensor) -> Tensor {
    let mut dx = memory::zeros(job.rows * job.total);
    if job.len > 0 {
        let rows = dx.chunks_exact_mut(job.total);
        for (dx, dy) in rows.zip(dy.data().chunks_exact(job.len)) {
            dx[job.start..][..job.len].copy_from_slice(dy);
        }
    }
    Tensor::computed(dx, &job.from)
}
