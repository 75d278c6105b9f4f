//! The definition as plain loops.

use crate::cpu::Isa;

/// `sum of g^2`
pub(crate) fn squares(_: Isa, g: &[f32]) -> f64 {
    g.iter().map(|&g| f64::from(g) * f64::from(g)).sum()
}

/// `g = g * factor`
pub(crate) fn scale(_: Isa, g: &mut [f32], factor: f32) {
    g.iter_mut().for_each(|g| *g *= factor);
}
