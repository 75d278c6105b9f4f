//! The definition as plain loops.

use super::{Pair, Single};
use crate::cpu::Isa;

/// `f(a, b)` of every two elements
pub(crate) fn pair(_: Isa, f: Pair, a: &[f32], b: &[f32]) -> Vec<f32> {
    let f = |a: f32, b: f32| match f {
        Pair::Add => a + b,
        Pair::Sub => a - b,
        Pair::Mul => a * b,
        Pair::TanhGrad => a * (1.0 - b * b),
        Pair::SigmoidGrad => a * b * (1.0 - b),
    };
    a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect()
}

/// `f(x)` of every element
pub(crate) fn single(_: Isa, f: Single, x: &[f32]) -> Vec<f32> {
    let f = |x: f32| match f {
        Single::Scale(k) => k * x,
        Single::Tanh => x.tanh(),
        Single::Sigmoid => 1.0 / (1.0 + (-x).exp()),
    };
    x.iter().map(|&x| f(x)).collect()
}
