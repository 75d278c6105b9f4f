//! SIMD kernels, in one pass over memory. Each task takes one chunk of the elements.

use super::{Job, Step};
use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, threads};
use crate::error::Result;

// Elements per task.
const CHUNK: usize = 1 << 15;

/// One step of all parameters; none if the norm is not finite.
pub(crate) fn step(isa: Isa, job: &Job, all: &mut [Step]) -> Result<()> {
    if !job.norm.item()?.is_finite() {
        return Ok(());
    }
    for step in all {
        let (param, grad) = (step.param.data_mut(), step.grad.data());
        let velocity = step.velocity.data_mut();
        let parts = param
            .chunks_mut(CHUNK)
            .zip(grad.chunks(CHUNK))
            .zip(velocity.chunks_mut(CHUNK));
        let mut chunks: Vec<Chunk> = parts
            .map(|((param, grad), velocity)| Chunk {
                param,
                grad,
                velocity,
                lr: job.options.lr,
                momentum: job.options.momentum,
                weight_decay: job.weight_decay(step.decays),
                gradient_factor: job.gradient_factor,
                velocity_factor: job.velocity_factor,
            })
            .collect();
        threads::for_each_chunk(&mut chunks, 1, |_, chunks| {
            chunks.iter_mut().for_each(|chunk| isa.dispatch(chunk));
        });
    }
    Ok(())
}

/// A chunk of the elements of one parameter, and the factors of its step.
struct Chunk<'a> {
    param: &'a mut [f32],
    grad: &'a [f32],
    velocity: &'a mut [f32],
    lr: f32,
    momentum: f32,
    weight_decay: f32,
    gradient_factor: f32,
    velocity_factor: f32,
}

impl WithSimd for &mut Chunk<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let &mut Chunk {
            lr,
            momentum,
            weight_decay,
            gradient_factor,
            velocity_factor,
            ..
        } = self;
        let rest = self.grad.iter().zip(self.velocity.iter_mut());
        for (param, (&grad, velocity)) in self.param.iter_mut().zip(rest) {
            let d = grad + weight_decay * *param;
            *velocity = momentum * *velocity + d;
            *param -= lr * (gradient_factor * d + velocity_factor * *velocity);
        }
    }
}
