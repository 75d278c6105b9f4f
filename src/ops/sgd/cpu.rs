//! SIMD kernels, in one pass over memory. Each task takes one chunk of the elements.

use super::Sgd;
use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, threads};

// Elements per task.
const CHUNK: usize = 1 << 15;

struct Chunk<'a> {
    param: &'a mut [f32],
    grad: &'a [f32],
    velocity: &'a mut [f32],
    options: Sgd,
}

/// One step of one parameter.
pub(crate) fn step(isa: Isa, param: &mut [f32], grad: &[f32], velocity: &mut [f32], options: &Sgd) {
    let parts = param
        .chunks_mut(CHUNK)
        .zip(grad.chunks(CHUNK))
        .zip(velocity.chunks_mut(CHUNK));
    let mut chunks: Vec<Chunk> = parts
        .map(|((param, grad), velocity)| Chunk {
            param,
            grad,
            velocity,
            options: *options,
        })
        .collect();
    threads::for_each_chunk(&mut chunks, 1, |_, chunks| {
        chunks.iter_mut().for_each(|chunk| isa.dispatch(chunk));
    });
}

impl WithSimd for &mut Chunk<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Sgd {
            lr,
            momentum,
            weight_decay,
            nesterov,
        } = self.options;
        // The direction is `now d + ahead velocity`: `d + momentum velocity` with Nesterov, else `velocity`.
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
