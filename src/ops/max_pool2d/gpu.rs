//! The same on a graphics device, by `shaders/max_pool2d.wgsl`: a thread an element of the result.

use super::Sizes;
use crate::error::Result;
use crate::gpu::{Gpu, Shader, Slice};
use crate::tensor::Tensor;

fn params(sizes: Sizes, batch: usize, x: &Slice, grad: Option<&Slice>) -> [u32; 14] {
    let Sizes {
        input,
        output,
        channels,
        kernel,
        stride,
        padding,
    } = sizes;
    [
        batch,
        input[0],
        input[1],
        channels,
        output[0],
        output[1],
        kernel[0],
        kernel[1],
        stride[0],
        stride[1],
        padding[0],
        padding[1],
        x.offset,
        grad.map_or(0, |g| g.offset),
    ]
    .map(|n| n as u32)
}

/// `y = x` where it is largest.
pub(crate) fn forward(gpu: &Gpu, sizes: Sizes, x: &Tensor) -> Result<Tensor> {
    let batch = x.dims()[0];
    let dims = [batch, sizes.output[0], sizes.output[1], sizes.channels];
    let len = dims.iter().product();
    let (y, at) = (Slice::from(gpu.unset(len)?), x.on(gpu)?);
    gpu.kernel(Shader::MaxPool2d, "max_pool2d_forward")
        .params(&params(sizes, batch, &at, None))
        .read(1, &at)
        .write(3, &y)
        .over(len)?;
    Ok(Tensor::from_gpu(y.buffer, &dims))
}

/// `dx = sum of dy` over the windows that chose it.
pub(crate) fn backward(gpu: &Gpu, sizes: Sizes, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let (dx, at, grad) = (Slice::from(gpu.unset(x.len())?), x.on(gpu)?, dy.on(gpu)?);
    gpu.kernel(Shader::MaxPool2d, "max_pool2d_backward")
        .params(&params(sizes, x.dims()[0], &at, Some(&grad)))
        .read(1, &at)
        .read(2, &grad)
        .write(3, &dx)
        .over(x.len())?;
    Ok(Tensor::from_gpu(dx.buffer, x.dims()))
}
