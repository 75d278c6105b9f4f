//! Copies consecutive columns out of a matrix, or into a matrix of zeros.

use super::Job;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::copy::{self, Rows};
use crate::tensor::Tensor;

/// `y[r][i] = x[r][start + i]`
pub(crate) fn forward(gpu: &Gpu, job: &Job, x: &Tensor) -> Result<Tensor> {
    let x = Rows::new(x.on(gpu)?, job.total);
    let y = Rows::new(gpu.unset(job.rows * job.len)?, job.len);
    copy::columns(gpu, &x.from_column(job.start), &y, [job.rows, job.len])?;
    Ok(Tensor::from_gpu(y.data.buffer, &job.to))
}

/// `dx[r][start + i] = dy[r][i]`, zero elsewhere
pub(crate) fn backward(gpu: &Gpu, job: &Job, dy: &Tensor) -> Result<Tensor> {
    let dy = Rows::new(dy.on(gpu)?, job.len);
    let dx = Rows::new(gpu.zeros(job.rows * job.total)?, job.total);
    copy::columns(gpu, &dy, &dx.from_column(job.start), [job.rows, job.len])?;
    Ok(Tensor::from_gpu(dx.data.buffer, &job.from))
}
