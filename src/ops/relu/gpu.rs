//! Dispatches `shaders/relu.wgsl`.

use crate::error::Result;
use crate::gpu::{Gpu, Shader, Slice};
use crate::tensor::Tensor;

/// `value` where `sign > 0`, else 0. With `x` for both it is ReLU; with `y` and `dy` it is the gradient.
pub(crate) fn select(gpu: &Gpu, sign: &Tensor, value: &Tensor) -> Result<Tensor> {
    let (y, len, dims) = (
        Slice::from(gpu.unset(value.len())?),
        value.len(),
        value.dims(),
    );
    let (sign, value) = (sign.on(gpu)?, value.on(gpu)?);
    gpu.kernel(Shader::Relu, "relu_select")
        .params(&[len as u32, sign.start(), value.start(), 0])
        .read(1, &sign)
        .read(2, &value)
        .write(3, &y)
        .over(len)?;
    Ok(Tensor::from_gpu(y.buffer, dims))
}
