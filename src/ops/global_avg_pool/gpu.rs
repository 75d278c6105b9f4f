//! Dispatches `shaders/global_avg_pool.wgsl`. One invocation computes one element of the result.

use crate::error::Result;
use crate::gpu::{Gpu, Shader, Slice};
use crate::tensor::Tensor;

/// Dispatches `entry`, whose result has dimensions `dims`.
fn dispatch(
    gpu: &Gpu,
    entry: &'static str,
    sizes: [usize; 3],
    x: &Tensor,
    dims: &[usize],
) -> Result<Tensor> {
    let len = dims.iter().product();
    let (y, data) = (Slice::from(gpu.unset(len)?), x.on(gpu)?);
    gpu.kernel(Shader::GlobalAvgPool, entry)
        .words(&sizes.map(|n| n as u32))
        .words(&[data.start()])
        .read(1, &data)
        .write(2, &y)
        .over(len)?;
    Ok(Tensor::from_gpu(y.buffer, dims))
}

/// `y = sum of x / (H W)`; `sizes` are images, pixels, channels.
pub(crate) fn forward(gpu: &Gpu, sizes: [usize; 3], x: &Tensor) -> Result<Tensor> {
    dispatch(
        gpu,
        "global_avg_pool_forward",
        sizes,
        x,
        &[sizes[0], sizes[2]],
    )
}

/// `dx = dy / (H W)`, with dimensions `dims`.
pub(crate) fn backward(
    gpu: &Gpu,
    sizes: [usize; 3],
    dy: &Tensor,
    dims: &[usize],
) -> Result<Tensor> {
    dispatch(gpu, "global_avg_pool_backward", sizes, dy, dims)
}
