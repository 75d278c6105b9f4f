//! The definition as plain loops.

use super::Inputs;
use crate::cpu::Isa;

/// The sum over rows of `sum_k p[k] (ln p[k] - ln q[k])`; writes `q - p` to `residual`, unless that is empty.
pub(crate) fn forward(_: Isa, inputs: Inputs, residual: &mut [f32]) -> f64 {
    let Inputs {
        student,
        teacher,
        classes,
        temperature,
    } = inputs;
    let mut loss = 0.0;
    for r in 0..student.len() / classes {
        let ln_p = log_softmax(&teacher[r * classes..][..classes], temperature);
        let ln_q = log_softmax(&student[r * classes..][..classes], temperature);
        for k in 0..classes {
            let (p, q) = (ln_p[k].exp(), ln_q[k].exp());
            loss += p * (ln_p[k] - ln_q[k]);
            if !residual.is_empty() {
                residual[r * classes + k] = (q - p) as f32;
            }
        }
    }
    loss
}

/// `ln softmax(x / temperature)`
fn log_softmax(x: &[f32], temperature: f32) -> Vec<f64> {
    let scaled = x.iter().map(|&x| f64::from(x) / f64::from(temperature));
    let largest = scaled.clone().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = scaled.clone().map(|x| (x - largest).exp()).sum();
    scaled.map(|x| x - largest - sum.ln()).collect()
}

/// `x = x * factor`
pub(crate) fn scale(_: Isa, x: &mut [f32], factor: f32) {
    for x in x {
        *x *= factor;
    }
}
