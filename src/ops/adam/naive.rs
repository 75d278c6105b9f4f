//! The definition as plain loops.

use super::{Adam, Factors};
use crate::cpu::Isa;

/// One step of one parameter.
pub(crate) fn step(
    _: Isa,
    param: &mut [f32],
    grad: &[f32],
    [m, v]: [&mut [f32]; 2],
    factors: Factors,
    options: &Adam,
) {
    let Factors {
        shrink,
        decay,
        rate,
        root,
    } = factors;
    let Adam {
        beta1, beta2, eps, ..
    } = *options;
    for i in 0..param.len() {
        let g = grad[i] + decay * param[i];
        m[i] = beta1 * m[i] + (1.0 - beta1) * g;
        v[i] = beta2 * v[i] + (1.0 - beta2) * g * g;
        param[i] = shrink * param[i] - rate * m[i] / (v[i].sqrt() * root + eps);
    }
}
