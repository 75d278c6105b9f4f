//! The same on a graphics device, by `shaders/relu.wgsl`.

use crate::error::Result;
use crate::gpu::{Gpu, Shader, Slice};
use crate::tensor::Tensor;

/// `passed` where `decides > 0`, else 0: of x and x it is ReLU, of y and dy its gradient.
pub(crate) fn select(gpu: &Gpu, decides: &Tensor, passed: &Tensor) -> Result<Tensor> {
    let (y, len) = (Slice::from(gpu.unset(passed.len())?), passed.len());
    let (sign, from) = (decides.on(gpu)?, passed.on(gpu)?);
    gpu.kernel(Shader::Relu, "relu_select")
        .params(&[len as u32, sign.start(), from.start(), 0])
        .read(1, &sign)
        .read(2, &from)
        .write(3, &y)
        .over(len)?;
    Ok(Tensor::from_gpu(y.buffer, passed.dims()))
}
