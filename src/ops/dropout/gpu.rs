//! The same mask on a graphics device, by `shaders/dropout.wgsl`.

use super::Mask;
use crate::error::Result;
use crate::gpu::{Gpu, Shader, Slice};
use crate::tensor::Tensor;

/// `y = x k / (1 - p)`
pub(crate) fn forward(gpu: &Gpu, mask: Mask, x: &Tensor) -> Result<Tensor> {
    let (y, len, at) = (Slice::from(gpu.unset(x.len())?), x.len(), x.on(gpu)?);
    gpu.kernel(Shader::Dropout, "dropout_forward")
        .params(&[
            len as u32,
            at.start(),
            mask.key[0],
            mask.key[1],
            mask.threshold,
        ])
        .params(&[mask.factor])
        .read(1, &at)
        .write(2, &y)
        .over(len)?;
    Ok(Tensor::from_gpu(y.buffer, x.dims()))
}
