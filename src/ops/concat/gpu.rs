//! Dispatches `shaders/concat.wgsl` once for each part.

use crate::error::Result;
use crate::gpu::copy::{self, Rows};
use crate::gpu::{Gpu, Slice};
use crate::tensor::Tensor;

/// `y[r] = [a[r], b[r], ...]`, with dimensions `dims`.
pub(crate) fn forward(
    gpu: &Gpu,
    rows: usize,
    widths: &[usize],
    parts: &[&Tensor],
    dims: &[usize],
) -> Result<Tensor> {
    let stride = widths.iter().sum();
    let data = Slice::from(gpu.unset(rows * stride)?);
    let y = Rows { data, stride };
    let mut first = 0;
    for (part, &width) in parts.iter().zip(widths) {
        let from = Rows {
            data: part.on(gpu)?,
            stride: width,
        };
        copy::columns(gpu, &from, &y.from_column(first), [rows, width])?;
        first += width;
    }
    Ok(Tensor::from_gpu(y.data.buffer, dims))
}

/// `dpart[r] = dy[r][columns]`, with dimensions `dims`.
pub(crate) fn backward(
    gpu: &Gpu,
    rows: usize,
    stride: usize,
    columns: std::ops::Range<usize>,
    dy: &Tensor,
    dims: &[usize],
) -> Result<Tensor> {
    let width = columns.len();
    let data = Slice::from(gpu.unset(rows * width)?);
    let to = Rows {
        data,
        stride: width,
    };
    let from = Rows {
        data: dy.on(gpu)?,
        stride,
    };
    copy::columns(gpu, &from.from_column(columns.start), &to, [rows, width])?;
    Ok(Tensor::from_gpu(to.data.buffer, dims))
}
