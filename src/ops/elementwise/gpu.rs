//! Dispatches `shaders/elementwise.wgsl`.

use super::{Pair, Single};
use crate::error::Result;
use crate::gpu::{Gpu, Shader, Slice};
use crate::tensor::Tensor;

/// `f(a, b)`, element by element.
pub(crate) fn pair(gpu: &Gpu, f: Pair, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let function = match f {
        Pair::Add => 0,
        Pair::Sub => 1,
        Pair::Mul => 2,
        Pair::TanhGrad => 3,
        Pair::SigmoidGrad => 4,
    };
    let (y, len) = (Slice::from(gpu.unset(a.len())?), a.len());
    let (dims, a, b) = (a.dims(), a.on(gpu)?, b.on(gpu)?);
    gpu.kernel(Shader::Elementwise, "elementwise_pair")
        .constant("FUNCTION", function)
        .params(&[len as u32, a.start(), b.start(), 0])
        .read(1, &a)
        .read(2, &b)
        .write(3, &y)
        .over(len)?;
    Ok(Tensor::from_gpu(y.buffer, dims))
}

/// `f(x)`, element by element.
pub(crate) fn single(gpu: &Gpu, f: Single, x: &Tensor) -> Result<Tensor> {
    let (function, factor) = match f {
        Single::Scale(factor) => (0, factor),
        Single::Tanh => (1, 0.0),
        Single::Sigmoid => (2, 0.0),
    };
    let (y, len) = (Slice::from(gpu.unset(x.len())?), x.len());
    let (dims, x) = (x.dims(), x.on(gpu)?);
    gpu.kernel(Shader::Elementwise, "elementwise_single")
        .constant("FUNCTION", function)
        .params(&[len as u32, x.start(), 0])
        .params(&[factor])
        .read(1, &x)
        .write(3, &y)
        .over(len)?;
    Ok(Tensor::from_gpu(y.buffer, dims))
}
