//! The definition as plain loops.

use crate::cpu::Isa;

/// `y = max(0, x)`
pub(crate) fn forward(_: Isa, x: &[f32]) -> Vec<f32> {
    x.iter().map(|&x| if x > 0.0 { x } else { 0.0 }).collect()
}

/// `dx = dy` where `y > 0`, else 0
pub(crate) fn backward(_: Isa, y: &[f32], dy: &[f32]) -> Vec<f32> {
    y.iter()
        .zip(dy)
        .map(|(&y, &g)| if y > 0.0 { g } else { 0.0 })
        .collect()
}
