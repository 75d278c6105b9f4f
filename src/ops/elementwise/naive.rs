//! The definition as plain loops.

use super::{Pair, Single};
use crate::tensor::Tensor;

/// `f(a, b)` of every two elements
pub(crate) fn pair(f: Pair, a: &Tensor, b: &Tensor) -> Tensor {
    let f = |a: f32, b: f32| match f {
        Pair::Add => a + b,
        Pair::Sub => a - b,
        Pair::Mul => a * b,
        Pair::TanhGrad => a * (1.0 - b * b),
        Pair::SigmoidGrad => a * b * (1.0 - b),
    };
    let y = a.data().iter().zip(b.data()).map(|(&a, &b)| f(a, b));
    Tensor::computed(y.collect(), a.dims())
}

/// `f(x)` of every element
pub(crate) fn single(f: Single, x: &Tensor) -> Tensor {
    let f = |x: f32| match f {
        Single::Scale(k) => k * x,
        Single::Tanh => x.tanh(),
        Single::Sigmoid => 1.0 / (1.0 + (-x).exp()),
    };
    let y = x.data().iter().map(|&x| f(x));
    Tensor::computed(y.collect(), x.dims())
}
