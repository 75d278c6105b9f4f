//! Dispatches `shaders/dropout.wgsl`, which computes the same mask.

use super::Mask;
use crate::error::Result;
use crate::gpu::{Gpu, Shader, Slice};
use crate::tensor::Tensor;

/// `y = x k / (1 - p)`
pub(crate) fn forward(gpu: &Gpu, mask: Mask, x: &Tensor) -> Result<Tensor> {
    let (y, len, data) = (Slice::from(gpu.unset(x.len())?), x.len(), x.on(gpu)?);
    gpu.kernel(Shader::Dropout, "dropout_forward")
        .words(&[
            len as u32,
            data.start(),
            mask.key[0],
            mask.key[1],
            mask.threshold,
        ])
        .words(&[mask.factor])
        .read(1, &data)
        .write(2, &y)
        .over(len)?;
    Ok(Tensor::from_gpu(y.buffer, x.dims()))
}
