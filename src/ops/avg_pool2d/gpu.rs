//! The same on a graphics device, by `shaders/avg_pool2d.wgsl`: a thread an element of the result.

use super::Sizes;
use crate::error::Result;
use crate::gpu::{Gpu, Shader, Slice};
use crate::tensor::Tensor;

fn run(gpu: &Gpu, entry: &'static str, sizes: Sizes, x: &Tensor, dims: &[usize]) -> Result<Tensor> {
    let Sizes {
        input,
        output,
        channels,
        kernel,
        stride,
    } = sizes;
    let len = dims.iter().product();
    let (y, at) = (Slice::from(gpu.unset(len)?), x.on(gpu)?);
    let params = [
        dims[0], input[0], input[1], channels, output[0], output[1], kernel[0], kernel[1],
        stride[0], stride[1], at.offset,
    ]
    .map(|n| n as u32);
    gpu.kernel(Shader::AvgPool2d, entry)
        .params(&params)
        .read(1, &at)
        .write(2, &y)
        .over(len)?;
    Ok(Tensor::from_gpu(y.buffer, dims))
}

/// `y = sum of x / K`
pub(crate) fn forward(gpu: &Gpu, sizes: Sizes, x: &Tensor) -> Result<Tensor> {
    let dims = [
        x.dims()[0],
        sizes.output[0],
        sizes.output[1],
        sizes.channels,
    ];
    run(gpu, "avg_pool2d_forward", sizes, x, &dims)
}

/// `dx = sum of dy / K`, of these dimensions.
pub(crate) fn backward(gpu: &Gpu, sizes: Sizes, dy: &Tensor, dims: &[usize]) -> Result<Tensor> {
    run(gpu, "avg_pool2d_backward", sizes, dy, dims)
}
