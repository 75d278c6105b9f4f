//! The same on a graphics device, by `shaders/log_softmax.wgsl`: a workgroup a row.

use crate::error::Result;
use crate::gpu::{Gpu, Shader, Slice};
use crate::tensor::Tensor;

/// `y = x - ln sum e^x`
pub(crate) fn forward(gpu: &Gpu, x: &Tensor, [rows, columns]: [usize; 2]) -> Result<Tensor> {
    let (y, at) = (Slice::from(gpu.unset(x.len())?), x.on(gpu)?);
    gpu.kernel(Shader::LogSoftmax, "log_softmax_forward")
        .params(&[rows as u32, columns as u32, at.start(), 0])
        .read(1, &at)
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
    let (dx, at, grad) = (Slice::from(gpu.unset(y.len())?), y.on(gpu)?, dy.on(gpu)?);
    gpu.kernel(Shader::LogSoftmax, "log_softmax_backward")
        .params(&[rows as u32, columns as u32, at.start(), grad.start()])
        .read(1, &at)
        .read(2, &grad)
        .write(3, &dx)
        .groups(rows)?;
    Ok(Tensor::from_gpu(dx.buffer, y.dims()))
}
