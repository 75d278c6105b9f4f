//! Dispatches `shaders/mse.wgsl`.

use crate::error::Result;
use crate::gpu::{Gpu, Shader, Slice, sum};
use crate::tensor::Tensor;

/// `1/n sum of (x - t)^2`
pub(crate) fn forward(gpu: &Gpu, x: &Tensor, target: &Tensor) -> Result<Tensor> {
    let n = x.len();
    let (x, t) = (x.on(gpu)?, target.on(gpu)?);
    let [chunks, length] = sum::chunks(n);
    let parts = Slice::from(gpu.unset(chunks)?);
    gpu.kernel(Shader::Mse, "mse_squares")
        .words(&[n as u32, x.start(), t.start(), length as u32, 0, 0])
        .read(1, &x)
        .read(2, &t)
        .write(4, &parts)
        .groups(chunks)?;
    let y = sum::total(gpu, &parts, chunks, (1.0 / n as f64) as f32)?;
    Ok(Tensor::from_gpu(y, &[]))
}

/// `dx = factor dy (x - t)`, with `factor = 2 / n`
pub(crate) fn backward(
    gpu: &Gpu,
    x: &Tensor,
    target: &Tensor,
    dy: &Tensor,
    factor: f32,
) -> Result<Tensor> {
    let (n, dims) = (x.len(), x.dims());
    let (x, t, dy) = (x.on(gpu)?, target.on(gpu)?, dy.on(gpu)?);
    let dx = Slice::from(gpu.unset(n)?);
    gpu.kernel(Shader::Mse, "mse_backward")
        .words(&[n as u32, x.start(), t.start(), 0, dy.start()])
        .words(&[factor])
        .read(1, &x)
        .read(2, &t)
        .read(3, &dy)
        .write(4, &dx)
        .over(n)?;
    Ok(Tensor::from_gpu(dx.buffer, dims))
}
