//! The definition as plain loops.

use super::Mask;
use crate::cpu::Isa;

/// `y = x k / (1 - p)`
pub(crate) fn forward(_: Isa, mask: Mask, x: &[f32]) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    for i in 0..x.len() {
        y[i] = x[i] * mask.factor(i as u32, (i as u64 >> 32) as u32);
    }
    y
}
