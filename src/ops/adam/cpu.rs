//! The same in vectors, in one pass, a run of elements a task.

use super::{Adam, Factors};
use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, threads};

// Elements of one task.
const RUN: usize = 1 << 15;

struct Run<'a> {
    param: &'a mut [f32],
    grad: &'a [f32],
    m: &'a mut [f32],
    v: &'a mut [f32],
    factors: Factors,
    options: Adam,
}

/// One step.
pub(crate) fn step(
    isa: Isa,
    param: &mut [f32],
    grad: &[f32],
    [m, v]: [&mut [f32]; 2],
    factors: Factors,
    options: &Adam,
) {
    let parts = param
        .chunks_mut(RUN)
        .zip(grad.chunks(RUN))
        .zip(m.chunks_mut(RUN).zip(v.chunks_mut(RUN)));
    let mut runs: Vec<Run> = parts
        .map(|((param, grad), (m, v))| Run {
            param,
            grad,
            m,
            v,
            factors,
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
        let Factors {
            shrink,
            decay,
            rate,
            root,
        } = self.factors;
        let Adam {
            beta1, beta2, eps, ..
        } = self.options;
        let state = self.m.iter_mut().zip(self.v.iter_mut());
        for ((param, &grad), (m, v)) in self.param.iter_mut().zip(self.grad).zip(state) {
            let g = grad + decay * *param;
            *m = beta1 * *m + (1.0 - beta1) * g;
            *v = beta2 * *v + (1.0 - beta2) * g * g;
            *param = shrink * *param - rate * *m / (v.sqrt() * root + eps);
        }
    }
}
