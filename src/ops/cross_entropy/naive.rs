//! The definition as plain loops.

use super::{Job, Saved};
use crate::tensor::Tensor;

/// `loss = 1/R sum_r w[r] (-sum_v q[r][v] ln p[r][v])`, and `w (p - q)` if the logits are tracked.
pub(crate) fn forward(job: &Job) -> (Tensor, Option<Saved>) {
    let (logits, classes, options) = (job.logits.data(), job.classes, job.options);
    let smoothing = f64::from(options.label_smoothing);
    let mut residual = vec![0.0; logits.len()];
    let mut loss = 0.0;
    for (r, &target) in job.targets.iter().enumerate() {
        if Some(target) == options.ignore_index {
            continue;
        }
        let (x, w) = (&logits[r * classes..][..classes], job.weights[r]);
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
                loss -= f64::from(w) * q * log_p;
            }
            residual[r * classes + v] = w * (log_p.exp() - q) as f32;
        }
    }
    let loss = Tensor::scalar((loss / job.counted as f64) as f32);
    (loss, job.saved(residual))
}

/// `dx = dloss / R w (p - q)`
pub(crate) fn backward(saved: Saved, dloss: &Tensor) -> Tensor {
    let factor = dloss.data()[0] / saved.counted as f32;
    let mut dx = saved.residual;
    for dx in dx.data_mut() {
        *dx *= factor;
    }
    dx
}
