//! The definition as plain loops.

use super::Sgd;
use crate::cpu::Isa;

/// One step of one parameter.
pub(crate) fn step(_: Isa, param: &mut [f32], grad: &[f32], velocity: &mut [f32], options: &Sgd) {
    let Sgd {
        lr,
        momentum,
        weight_decay,
        nesterov,
    } = *options;
    for i in 0..param.len() {
        let d = grad[i] + weight_decay * param[i];
        velocity[i] = momentum * velocity[i] + d;
        param[i] -= lr
            * if nesterov {
                d + momentum * velocity[i]
            } else {
                velocity[i]
            };
    }
}
