//! Dispatches `shaders/reduce.wgsl`.

use crate::error::Result;
use crate::gpu::{Gpu, sum};
use crate::tensor::Tensor;

/// The sum of `x` divided by `count`.
pub(crate) fn total(gpu: &Gpu, x: &Tensor, count: f64) -> Result<Tensor> {
    let y = sum::total(gpu, &x.on(gpu)?, x.len(), (1.0 / count) as f32)?;
    Ok(Tensor::from_gpu(y, &[]))
}

/// `dx = dy / count` for every element.
pub(crate) fn spread(gpu: &Gpu, dy: &Tensor, dims: &[usize], count: f64) -> Result<Tensor> {
    let len = dims.iter().product();
    let dx = sum::broadcast(gpu, &dy.on(gpu)?, len, (1.0 / count) as f32)?;
    Ok(Tensor::from_gpu(dx, dims))
}
