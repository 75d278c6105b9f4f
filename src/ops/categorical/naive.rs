//! The definition: probabilities are added up word by word until the sum passes the random number.

use super::Draw;
use crate::cpu::Isa;

/// The word drawn from one row, or none where there is no finite sum to draw from.
pub(crate) fn row(_: Isa, draw: Draw, logits: &[f32], uniform: f32) -> Option<usize> {
    let warm = |w: usize| f64::from(logits[w]) * f64::from(draw.inverse);
    let allowed = || (0..logits.len()).filter(|w| !draw.barred.contains(w));
    let largest = allowed().map(warm).fold(f64::NEG_INFINITY, f64::max);
    let power = |w: usize| (warm(w) - largest).exp();
    let total: f64 = allowed().map(power).sum();
    if !total.is_finite() {
        return None;
    }
    let target = f64::from(uniform) * total;
    let mut sum = 0.0;
    let passes = allowed().find(|&w| {
        sum += power(w);
        sum > target
    });
    // Rounding may keep the sum below the target for a number next to 1.
    passes.or_else(|| allowed().rfind(|&w| power(w) > 0.0))
}
