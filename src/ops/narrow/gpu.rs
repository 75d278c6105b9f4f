//! Copies consecutive columns out of a matrix, or into a matrix of zeros.

use super::Job;
use crate::error::Result;
use crate::gpu::copy::{self, Rows};
use crate::gpu::{Gpu, Slice};
use crate::tensor::Tensor;

/// `y[r][i] = x[r][start + i]`
pub(crate) fn forward(gpu: &Gpu, job: &Job, x: &Tensor) -> Result<Tensor> {
    let x = Rows {
        data: x.on(gpu)?,
        stride: job.total,
    };
    let y = Rows {
        data: Slice::from(gpu.unset(job.rows * job.len)?),
        stride: job.len,
    };
    copy::columns(gpu, &x.from_column(job.start), &y, [job.rows, job.len])?;
    Ok(Tensor::from_gpu(y.data.buffer, &job.to))
}

/// `dx[r][start + i] = dy[r][i]`, zero elsewhere
pub(crate) fn backward(gpu: &Gpu, job: &Job, dy: &Tensor) -> Result<Tensor> {
    let dy = Rows {
        data: dy.on(gpu)?,
        stride: job.len,
    };
    let dx = Rows {
        data: gpu.zeros(job.rows * job.total)?.into(),
        stride: job.total,
    };
    copy::columns(gpu, &dy, &dx.from_column(job.start), [job.rows, job.len])?;
    Ok(Tensor::from_gpu(dx.data.buffer, &job.from))
}
