//! Dispatches `shaders/reduce.wgsl`.

use crate::error::Result;
use crate::gpu::{Gpu, sum};
use crate::tensor::Tensor;

/// `y = 1/count sum_i x[i]`
pub(crate) fn forward(gpu: &Gpu, x: &Tensor, count: f64) -> Result<Tensor> {
    let y = sum::total(gpu, &x.on(gpu)?, x.len(), (1.0 / count) as f32)?;
    Ok(Tensor::from_gpu(y, &[]))
}

/// `dx[i] = dy / count`, with dimensions `dims`.
pub(crate) fn backward(gpu: &Gpu, dy: &Tensor, dims: &[usize], count: f64) -> Result<Tensor> {
    let len = dims.iter().product();
    let dx = sum::broadcast(gpu, &dy.on(gpu)?, len, (1.0 / count) as f32)?;
    Ok(Tensor::from_gpu(dx, dims))
}
