//! Dispatches `shaders/avg_pool2d.wgsl`. One invocation computes one element of the result.

use super::Sizes;
use crate::error::Result;
use crate::gpu::{Gpu, Shader, Slice};
use crate::tensor::Tensor;

/// Dispatches `entry`, whose result has dimensions `dims`.
fn dispatch(
    gpu: &Gpu,
    entry: &'static str,
    sizes: Sizes,
    x: &Tensor,
    dims: &[usize],
) -> Result<Tensor> {
    let Sizes {
        input,
        output,
        channels,
        kernel,
        stride,
    } = sizes;
    let len = dims.iter().product();
    let (y, data) = (Slice::from(gpu.unset(len)?), x.on(gpu)?);
    let params = [
        dims[0],
        input[0],
        input[1],
        channels,
        output[0],
        output[1],
        kernel[0],
        kernel[1],
        stride[0],
        stride[1],
        data.offset,
    ]
    .map(|n| n as u32);
    gpu.kernel(Shader::AvgPool2d, entry)
        .words(&params)
        .read(1, &data)
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
    dispatch(gpu, "avg_pool2d_forward", sizes, x, &dims)
}

/// `dx = sum of dy / K`, with dimensions `dims`.
pub(crate) fn backward(gpu: &Gpu, sizes: Sizes, dy: &Tensor, dims: &[usize]) -> Result<Tensor> {
    dispatch(gpu, "avg_pool2d_backward", sizes, dy, dims)
}
