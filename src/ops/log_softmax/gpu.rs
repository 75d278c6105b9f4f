//! Dispatches `shaders/log_softmax.wgsl`. One workgroup computes one row.

use crate::error::Result;
use crate::gpu::{Gpu, Shader, Slice};
use crate::tensor::Tensor;

/// `y = x - ln sum e^x`
pub(crate) fn forward(gpu: &Gpu, x: &Tensor, [rows, columns]: [usize; 2]) -> Result<Tensor> {
    let (y, data) = (Slice::from(gpu.unset(x.len())?), x.on(gpu)?);
    gpu.kernel(Shader::LogSoftmax, "log_softmax_forward")
        .words(&[rows as u32, columns as u32, data.start(), 0])
        .read(1, &data)
        .write(3, &y)
        .groups(rows)?;
    Ok(Tensor::from_gpu(y.buffer, x.dims()))
}

/// `dx = dy - e^y sum dy`
pub(crate) fn backward(
    gpu: &Gpu,
    y: &Tensor,
    dy: &Tensor,
    [rows, columns]: [usize; 2],
) -> Result<Tensor> {
    let (dx, data, dy) = (Slice::from(gpu.unset(y.len())?), y.on(gpu)?, dy.on(gpu)?);
    gpu.kernel(Shader::LogSoftmax, "log_softmax_backward")
        .words(&[rows as u32, columns as u32, data.start(), dy.start()])
        .read(1, &data)
        .read(2, &dy)
        .write(3, &dx)
        .groups(rows)?;
    Ok(Tensor::from_gpu(dx.buffer, y.dims()))
}
