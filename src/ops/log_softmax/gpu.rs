//! Dispatches `shaders/log_softmax.wgsl`. One workgroup computes one row.

use super::sizes;
use crate::error::Result;
use crate::gpu::params::shader_params;
use crate::gpu::{Gpu, Shader, Slice};
use crate::tensor::Tensor;

shader_params! {
    /// The sizes, and where the arrays begin in their buffers.
    struct Params of LogSoftmax {
        rows: u32,
        classes: u32,
        x_start: u32,
        dy_start: u32,
    }
}

/// `y[r][v] = x[r][v] - ln sum_u exp x[r][u]`
pub(crate) fn forward(gpu: &Gpu, x: &Tensor) -> Result<Tensor> {
    let ([rows, classes], dims) = (sizes(x), x.dims());
    let (y, x) = (Slice::from(gpu.unset(x.len())?), x.on(gpu)?);
    gpu.kernel(Shader::LogSoftmax, "log_softmax_forward")
        .params(&Params {
            rows: rows as u32,
            classes: classes as u32,
            x_start: x.start(),
            ..Params::default()
        })
        .read(1, &x)
        .write(3, &y)
        .groups(rows)?;
    Ok(Tensor::from_gpu(y.buffer, dims))
}

/// `dx[r][v] = dy[r][v] - exp(y[r][v]) sum_u dy[r][u]`
pub(crate) fn backward(gpu: &Gpu, y: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let ([rows, classes], dims) = (sizes(y), y.dims());
    let (dx, y, dy) = (Slice::from(gpu.unset(y.len())?), y.on(gpu)?, dy.on(gpu)?);
    gpu.kernel(Shader::LogSoftmax, "log_softmax_backward")
        .params(&Params {
            rows: rows as u32,
            classes: classes as u32,
            x_start: y.start(),
            dy_start: dy.start(),
        })
        .read(1, &y)
        .read(2, &dy)
        .write(3, &dx)
        .groups(rows)?;
    Ok(Tensor::from_gpu(dx.buffer, dims))
}
