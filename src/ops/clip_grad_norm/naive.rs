//! The definition as plain loops.

use super::factor;
use crate::tensor::Tensor;

/// `norm = sqrt(sum g^2)`, `g *= min(1, max_norm / (norm + 1e-6))`
pub(crate) fn forward(grads: &mut [Tensor], max_norm: f32) -> Tensor {
    let mut squares = 0.0;
    for g in grads.iter() {
        squares += g
            .data()
            .iter()
            .fold(0.0, |sum, &g| sum + f64::from(g) * f64::from(g));
    }
    let norm = squares.sqrt();
    if let Some(factor) = factor(norm, max_norm) {
        for g in grads {
            g.data_mut().iter_mut().for_each(|g| *g *= factor);
        }
    }
    Tensor::scalar(norm as f32)
}
