//! The definition as plain loops.

use super::{Job, Saved};
use crate::tensor::Tensor;

/// `loss = T^2/R sum_r sum_k p[k] (ln p[k] - ln q[k])`, and `q - p` if the student's logits are tracked.
pub(crate) fn forward(job: &Job) -> (Tensor, Option<Saved>) {
    let (s, t, classes) = (job.student.data(), job.teacher.data(), job.classes);
    let mut residual = vec![0.0; s.len()];
    let mut sum = 0.0;
    for r in 0..job.rows {
        let ln_p = log_softmax(&t[r * classes..][..classes], job.temperature);
        let ln_q = log_softmax(&s[r * classes..][..classes], job.temperature);
        for k in 0..classes {
            let (p, q) = (ln_p[k].exp(), ln_q[k].exp());
            sum += p * (ln_p[k] - ln_q[k]);
            residual[r * classes + k] = (q - p) as f32;
        }
    }
    (job.loss(sum), job.saved(residual))
}

/// `ln softmax(x / temperature)`
fn log_softmax(x: &[f32], temperature: f32) -> Vec<f64> {
    let scaled = x.iter().map(|&x| f64::from(x) / f64::from(temperature));
    let largest = scaled.clone().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = scaled.clone().map(|x| (x - largest).exp()).sum();
    scaled.map(|x| x - largest - sum.ln()).collect()
}

/// `ds = dloss T / R (q - p)`
pub(crate) fn backward(saved: Saved, dloss: &Tensor) -> Tensor {
    let factor = dloss.data()[0] * saved.temperature / saved.rows as f32;
    let mut ds = saved.residual;
    for ds in ds.data_mut() {
        *ds *= factor;
    }
    ds
}
