//! The definition as plain loops.

use super::Inputs;
use crate::cpu::Isa;

/// The weighted sum of the rows' losses; writes `w (p - q)` to `residual`, unless that is empty.
pub(crate) fn forward(_: Isa, inputs: Inputs, residual: &mut [f32]) -> f64 {
    let Inputs {
        logits,
        classes,
        targets,
        weights,
        options,
    } = inputs;
    let smoothing = f64::from(options.label_smoothing);
    let mut loss = 0.0;
    for (r, &target) in targets.iter().enumerate() {
        if Some(target) == options.ignore_index {
            continue;
        }
        let x = &logits[r * classes..][..classes];
        let largest = f64::from(x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let mut sum = 0.0;
        for &x in x {
            sum += (f64::from(x) - largest).exp();
        }
        for v in 0..classes {
            let log_p = f64::from(x[v]) - largest - sum.ln();
            let hit = if v == target { 1.0 } else { 0.0 };
            let q = (1.0 - smoothing) * hit + smoothing / classes as f64;
            if q > 0.0 {
                loss -= f64::from(weights[r]) * q * log_p;
            }
            if !residual.is_empty() {
                residual[r * classes + v] = weights[r] * (log_p.exp() - q) as f32;
            }
        }
    }
    loss
}

/// `x = x * factor`
pub(crate) fn scale(_: Isa, x: &mut [f32], factor: f32) {
    for x in x {
        *x *= factor;
    }
}
