//! Dispatches `shaders/max_pool2d.wgsl`. One invocation computes one element of the result.

use super::Sizes;
use crate::error::Result;
use crate::gpu::{Gpu, Shader, Slice};
use crate::tensor::Tensor;

fn params(sizes: Sizes, batch: usize, x: &Slice, dy: Option<&Slice>) -> [u32; 14] {
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
        dy.map_or(0, |g| g.offset),
    ]
    .map(|n| n as u32)
}

/// `y = x` of the chosen element.
pub(crate) fn forward(gpu: &Gpu, sizes: Sizes, x: &Tensor) -> Result<Tensor> {
    let batch = x.dims()[0];
    let dims = [batch, sizes.output[0], sizes.output[1], sizes.channels];
    let len = dims.iter().product();
    let (y, data) = (Slice::from(gpu.unset(len)?), x.on(gpu)?);
    gpu.kernel(Shader::MaxPool2d, "max_pool2d_forward")
        .words(&params(sizes, batch, &data, None))
        .read(1, &data)
        .write(3, &y)
        .over(len)?;
    Ok(Tensor::from_gpu(y.buffer, &dims))
}

/// `dx = sum of dy` over the windows that chose it.
pub(crate) fn backward(gpu: &Gpu, sizes: Sizes, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let (dx, data, dy) = (Slice::from(gpu.unset(x.len())?), x.on(gpu)?, dy.on(gpu)?);
    gpu.kernel(Shader::MaxPool2d, "max_pool2d_backward")
        .words(&params(sizes, x.dims()[0], &data, Some(&dy)))
        .read(1, &data)
        .read(2, &dy)
        .write(3, &dx)
        .over(x.len())?;
    Ok(Tensor::from_gpu(dx.buffer, x.dims()))
}
