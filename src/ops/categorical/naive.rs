//! The definition: probabilities are added word by word until the sum exceeds the random number.

use super::Draw;
use crate::cpu::Isa;

/// The word drawn from one row; `None` if the sum is not finite.
pub(crate) fn row(_: Isa, draw: Draw, logits: &[f32], uniform: f32) -> Option<usize> {
    let scaled = |w: usize| f64::from(logits[w]) * f64::from(draw.inverse);
    let allowed = || (0..logits.len()).filter(|w| !draw.barred.contains(w));
    let largest = allowed().map(scaled).fold(f64::NEG_INFINITY, f64::max);
    let exponential = |w: usize| (scaled(w) - largest).exp();
    let total: f64 = allowed().map(exponential).sum();
    if !total.is_finite() {
        return None;
    }
    let target = f64::from(uniform) * total;
    let mut sum = 0.0;
    let passes = allowed().find(|&w| {
        sum += exponential(w);
        sum > target
    });
    // For a random number close to 1, rounding may keep the sum below the target.
    passes.or_else(|| allowed().rfind(|&w| exponential(w) > 0.0))
}
