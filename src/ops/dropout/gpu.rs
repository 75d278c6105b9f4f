//! Dispatches `shaders/dropout.wgsl`, which computes the same mask.

use super::Mask;
use crate::error::Result;
use crate::gpu::params::shader_params;
use crate::gpu::{Gpu, Shader, Slice};
use crate::tensor::Tensor;

shader_params! {
    /// The number of elements, where they begin in their buffer, and the mask.
    struct Params of Dropout {
        len: u32,
        x_start: u32,
        key_low: u32,
        key_high: u32,
        threshold: u32,
        factor: f32,
    }
}

/// `y[i] = x[i] k[i] / (1 - p)`
pub(crate) fn forward(gpu: &Gpu, mask: Mask, x: &Tensor) -> Result<Tensor> {
    let (len, dims) = (x.len(), x.dims());
    let (y, x) = (Slice::from(gpu.unset(len)?), x.on(gpu)?);
    let [key_low, key_high] = mask.key;
    gpu.kernel(Shader::Dropout, "dropout_forward")
        .params(&Params {
            len: len as u32,
            x_start: x.start(),
            key_low,
            key_high,
            threshold: mask.threshold,
            factor: mask.factor,
        })
        .read(1, &x)
        .write(2, &y)
        .over(len)?;
    Ok(Tensor::from_gpu(y.buffer, dims))
}

/// `dx[i] = dy[i] k[i] / (1 - p)`
pub(crate) fn backward(gpu: &Gpu, mask: Mask, dy: &Tensor) -> Result<Tensor> {
    forward(gpu, mask, dy)
}
