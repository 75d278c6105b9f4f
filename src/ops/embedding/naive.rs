//! The definition as plain loops.

use crate::cpu::Isa;

/// `y[r] = W[ids[r]]`
pub(crate) fn forward(_: Isa, weight: &[f32], width: usize, ids: &[usize]) -> Vec<f32> {
    let mut y = vec![0.0; ids.len() * width];
    for (r, id) in ids.iter().enumerate() {
        for e in 0..width {
            y[r * width + e] = weight[id * width + e];
        }
    }
    y
}

/// `dW[ids[r]] += dy[r]`
pub(crate) fn backward(_: Isa, dy: &[f32], rows: usize, width: usize, ids: &[usize]) -> Vec<f32> {
    let mut dw = vec![0.0; rows * width];
    for (r, id) in ids.iter().enumerate() {
        for e in 0..width {
            dw[id * width + e] += dy[r * width + e];
        }
    }
    dw
}
