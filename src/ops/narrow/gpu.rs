//! Copies consecutive columns out of a matrix, or into a matrix of zeros.

use super::Columns;
use crate::error::Result;
use crate::gpu::copy::{self, Rows};
use crate::gpu::{Gpu, Slice};
use crate::tensor::Tensor;

/// `y[.., i, ..] = x[.., start + i, ..]`
pub(crate) fn forward(gpu: &Gpu, columns: &Columns, x: &Tensor, dims: &[usize]) -> Result<Tensor> {
    let from = Rows {
        data: x.on(gpu)?,
        stride: columns.stride,
    };
    let data = Slice::from(gpu.unset(columns.rows * columns.len)?);
    let to = Rows {
        data,
        stride: columns.len,
    };
    copy::columns(
        gpu,
        &from.from_column(columns.start),
        &to,
        [columns.rows, columns.len],
    )?;
    Ok(Tensor::from_gpu(to.data.buffer, dims))
}

/// `dx[.., start + i, ..] = dy[.., i, ..]`, zero elsewhere.
pub(crate) fn backward(
    gpu: &Gpu,
    columns: &Columns,
    dy: &Tensor,
    dims: &[usize],
) -> Result<Tensor> {
    let from = Rows {
        data: dy.on(gpu)?,
        stride: columns.len,
    };
    let to = Rows {
        data: gpu.zeros(columns.rows * columns.stride)?.into(),
        stride: columns.stride,
    };
    copy::columns(
        gpu,
        &from,
        &to.from_column(columns.start),
        [columns.rows, columns.len],
    )?;
    Ok(Tensor::from_gpu(to.data.buffer, dims))
}
