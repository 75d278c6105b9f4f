//! The same on a graphics device: a run of columns out of a matrix, or into one of zeros.

use super::Run;
use crate::error::Result;
use crate::gpu::copy::{self, Rows};
use crate::gpu::{Gpu, Slice};
use crate::tensor::Tensor;

/// `y[.., i, ..] = x[.., start + i, ..]`
pub(crate) fn forward(gpu: &Gpu, run: &Run, x: &Tensor, dims: &[usize]) -> Result<Tensor> {
    let from = Rows {
        data: x.on(gpu)?,
        stride: run.stride,
    };
    let data = Slice::from(gpu.unset(run.rows * run.len)?);
    let to = Rows {
        data,
        stride: run.len,
    };
    copy::columns(gpu, &from.from_column(run.start), &to, [run.rows, run.len])?;
    Ok(Tensor::from_gpu(to.data.buffer, dims))
}

/// `dx[.., start + i, ..] = dy[.., i, ..]`, zero elsewhere.
pub(crate) fn backward(gpu: &Gpu, run: &Run, dy: &Tensor, dims: &[usize]) -> Result<Tensor> {
    let from = Rows {
        data: dy.on(gpu)?,
        stride: run.len,
    };
    let to = Rows {
        data: gpu.zeros(run.rows * run.stride)?.into(),
        stride: run.stride,
    };
    copy::columns(gpu, &from, &to.from_column(run.start), [run.rows, run.len])?;
    Ok(Tensor::from_gpu(to.data.buffer, dims))
}
