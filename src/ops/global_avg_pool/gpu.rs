//! The same on a graphics device, by `shaders/global_avg_pool.wgsl`: a thread an element of the result.

use crate::error::Result;
use crate::gpu::{Gpu, Shader, Slice};
use crate::tensor::Tensor;

fn run(
    gpu: &Gpu,
    entry: &'static str,
    sizes: [usize; 3],
    x: &Tensor,
    dims: &[usize],
) -> Result<Tensor> {
    let len = dims.iter().product();
    let (y, at) = (Slice::from(gpu.unset(len)?), x.on(gpu)?);
    gpu.kernel(Shader::GlobalAvgPool, entry)
        .params(&sizes.map(|n| n as u32))
        .params(&[at.start()])
        .read(1, &at)
        .write(2, &y)
        .over(len)?;
    Ok(Tensor::from_gpu(y.buffer, dims))
}

/// `y[n][c]`, the mean over the pixels; sizes are images, pixels, channels.
pub(crate) fn forward(gpu: &Gpu, sizes: [usize; 3], x: &Tensor) -> Result<Tensor> {
    run(
        gpu,
        "global_avg_pool_forward",
        sizes,
        x,
        &[sizes[0], sizes[2]],
    )
}

/// `dx = dy / (H W)`, of these dimensions.
pub(crate) fn backward(
    gpu: &Gpu,
    sizes: [usize; 3],
    dy: &Tensor,
    dims: &[usize],
) -> Result<Tensor> {
    run(gpu, "global_avg_pool_backward", sizes, dy, dims)
}
