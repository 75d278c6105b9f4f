//! The same in vectors, in one pass, a run of elements a task.

use super::Sgd;
use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, threads};

// Elements of one task.
const RUN: usize = 1 << 15;

struct Run<'a> {
    param: &'a mut [f32],
    grad: &'a [f32],
    velocity: &'a mut [f32],
    options: Sgd,
}

/// One step.
pub(crate) fn step(isa: Isa, param: &mut [f32], grad: &[f32], velocity: &mut [f32], options: &Sgd) {
    let parts = param
        .chunks_mut(RUN)
        .zip(grad.chunks(RUN))
        .zip(velocity.chunks_mut(RUN));
    let mut runs: Vec<Run> = parts
        .map(|((param, grad), velocity)| Run {
            param,
            grad,
            velocity,
            options: *options,
        })
        .collect();
    threads::for_each_chunk(&mut runs, 1, |_, runs| {
        runs.iter_mut().for_each(|run| isa.dispatch(run));
    });
}

impl WithSimd for &mut Run<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Sgd {
            lr,
            momentum,
            weight_decay,
            nesterov,
        } = self.options;
        // d + ahead velocity is Nesterov's direction; the plain one is 0 d + velocity.
        let (now, ahead) = if nesterov {
            (1.0, momentum)
        } else {
            (0.0, 1.0)
        };
        let rest = self.grad.iter().zip(self.velocity.iter_mut());
        for (param, (&grad, velocity)) in self.param.iter_mut().zip(rest) {
            let d = grad + weight_decay * *param;
            *velocity = momentum * *velocity + d;
            *param -= lr * (now * d + ahead * *velocity);
        }
    }
}
