//! The definition as plain loops.

use crate::cpu::Isa;

/// `sum of (x - t)^2`
pub(crate) fn forward(_: Isa, x: &[f32], t: &[f32]) -> f64 {
    x.iter()
        .zip(t)
        .map(|(x, t)| f64::from(x - t) * f64::from(x - t))
        .sum()
}

/// `dx = factor (x - t)`, with `factor = 2 dy / n`
pub(crate) fn backward(_: Isa, x: &[f32], t: &[f32], factor: f32) -> Vec<f32> {
    x.iter().zip(t).map(|(x, t)| factor * (x - t)).collect()
}
