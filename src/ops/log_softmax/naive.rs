//! The definition as plain loops.

use crate::cpu::Isa;

/// `y = x - ln sum exp x`
pub(crate) fn forward(_: Isa, classes: usize, x: &[f32]) -> Vec<f32> {
    let mut y = Vec::new();
    for x in x.chunks(classes.max(1)) {
        let largest = f64::from(x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let sum: f64 = x.iter().map(|&x| (f64::from(x) - largest).exp()).sum();
        y.extend(
            x.iter()
                .map(|&x| (f64::from(x) - largest - sum.ln()) as f32),
        );
    }
    y
}

/// `dx = dy - exp(y) sum dy`
pub(crate) fn backward(_: Isa, classes: usize, y: &[f32], dy: &[f32]) -> Vec<f32> {
    let mut dx = Vec::new();
    for (y, dy) in y.chunks(classes.max(1)).zip(dy.chunks(classes.max(1))) {
        let sum: f32 = dy.iter().sum();
        dx.extend(y.iter().zip(dy).map(|(y, dy)| dy - y.exp() * sum));
    }
    dx
}
