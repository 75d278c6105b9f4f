//! Dispatches `shaders/relu.wgsl`: both passes are a selection.

use crate::error::Result;
use crate::gpu::params::shader_params;
use crate::gpu::{Gpu, Shader, Slice};
use crate::tensor::Tensor;

shader_params! {
    /// The sizes, and where the arrays begin in their buffers.
    struct Params of Relu {
        len: u32,
        condition_start: u32,
        value_start: u32,
    }
}

/// `y = max(0, x)`
pub(crate) fn forward(gpu: &Gpu, x: &Tensor) -> Result<Tensor> {
    select(gpu, x, x)
}

/// `dx = dy` where `y > 0`, else 0
pub(crate) fn backward(gpu: &Gpu, y: &Tensor, dy: &Tensor) -> Result<Tensor> {
    select(gpu, y, dy)
}

/// `value` where `condition > 0`, else 0.
fn select(gpu: &Gpu, condition: &Tensor, value: &Tensor) -> Result<Tensor> {
    let (len, dims) = (value.len(), value.dims());
    let y = Slice::from(gpu.unset(len)?);
    let (condition, value) = (condition.on(gpu)?, value.on(gpu)?);
    gpu.kernel(Shader::Relu, "relu_select")
        .params(&Params {
            len: len as u32,
            condition_start: condition.start(),
            value_start: value.start(),
        })
        .read(1, &condition)
        .read(2, &value)
        .write(3, &y)
        .over(len)?;
    Ok(Tensor::from_gpu(y.buffer, dims))
}
