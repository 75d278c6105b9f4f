//! Dispatches `shaders/elementwise.wgsl`.

use super::{Pair, Single};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::elementwise::{self, ADD, MUL, SCALE, SIGMOID, SIGMOID_GRAD, SUB, TANH, TANH_GRAD};
use crate::tensor::Tensor;

/// `f(a, b)`, element by element.
pub(crate) fn pair(gpu: &Gpu, f: Pair, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let function = match f {
        Pair::Add => ADD,
        Pair::Sub => SUB,
        Pair::Mul => MUL,
        Pair::TanhGrad => TANH_GRAD,
        Pair::SigmoidGrad => SIGMOID_GRAD,
    };
    let y = elementwise::pair(gpu, function, &a.on(gpu)?, &b.on(gpu)?, a.len())?;
    Ok(Tensor::from_gpu(y, a.dims()))
}

/// `f(x)`, element by element.
pub(crate) fn single(gpu: &Gpu, f: Single, x: &Tensor) -> Result<Tensor> {
    let (function, factor) = match f {
        Single::Scale(factor) => (SCALE, factor),
        Single::Tanh => (TANH, 0.0),
        Single::Sigmoid => (SIGMOID, 0.0),
    };
    let y = elementwise::single(gpu, function, factor, &x.on(gpu)?, x.len())?;
    Ok(Tensor::from_gpu(y, x.dims()))
}
