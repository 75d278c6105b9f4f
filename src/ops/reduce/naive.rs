//! The definition as plain loops.

use crate::cpu::Isa;

/// The sum of `x`.
pub(crate) fn sum(_: Isa, x: &[f32]) -> f64 {
    x.iter().map(|&x| f64::from(x)).sum()
}
