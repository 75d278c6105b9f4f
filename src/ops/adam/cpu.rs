//! SIMD kernels, in one pass over memory. Each task takes one chunk of the elements.

use super::{Adam, Job, Step};
use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, threads};
use crate::error::Result;

// Elements per task.
const CHUNK: usize = 1 << 12;

/// One step of all parameters; none if the norm is not finite.
pub(crate) fn step(isa: Isa, job: &Job, all: &mut [Step]) -> Result<()> {
    if !job.norm.item()?.is_finite() {
        return Ok(());
    }
    for step in all {
        let [shrink, decay] = job.decay_of(step.decays);
        let (param, grad) = (step.param.data_mut(), step.grad.data());
        let (m, v) = (step.m.data_mut(), step.v.data_mut());
        let parts = param
            .chunks_mut(CHUNK)
            .zip(grad.chunks(CHUNK))
            .zip(m.chunks_mut(CHUNK).zip(v.chunks_mut(CHUNK)));
        let mut chunks: Vec<Chunk> = parts
            .map(|((param, grad), (m, v))| Chunk {
                param,
                grad,
                m,
                v,
                shrink,
                decay,
                rate: job.rate,
                root: job.root,
                options: job.options,
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
    m: &'a mut [f32],
    v: &'a mut [f32],
    shrink: f32,
    decay: f32,
    rate: f32,
    root: f32,
    options: Adam,
}

impl WithSimd for &mut Chunk<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let len = self.param.len();
        let whole = len - len % S::LANES;
        for i in (0..whole).step_by(S::LANES) {
            let grad = s.load(&self.grad[i..]);
            let state = [&*self.param, &*self.m, &*self.v].map(|x| s.load(&x[i..]));
            let [param, m, v] = self.vector(s, grad, state);
            s.store(&mut self.param[i..], param);
            s.store(&mut self.m[i..], m);
            s.store(&mut self.v[i..], v);
        }
        if whole < len {
            let grad = s.load_part(&self.grad[whole..], 0.0);
            let state = [&*self.param, &*self.m, &*self.v].map(|x| s.load_part(&x[whole..], 0.0));
            let [param, m, v] = self.vector(s, grad, state);
            s.store_part(&mut self.param[whole..], param);
            s.store_part(&mut self.m[whole..], m);
            s.store_part(&mut self.v[whole..], v);
        }
    }
}

impl Chunk<'_> {
    /// One step of a vector of parameters with their `m` and `v`.
    #[inline(always)]
    fn vector<S: Simd>(&self, s: S, grad: S::V, [param, m, v]: [S::V; 3]) -> [S::V; 3] {
        let &Chunk {
            shrink,
            decay,
            rate,
            root: root_factor,
            ..
        } = self;
        let Adam {
            beta1, beta2, eps, ..
        } = self.options;
        let g = s.mul_add(s.splat(decay), param, grad);
        let m = s.mul_add(s.splat(beta1), m, s.mul(s.splat(1.0 - beta1), g));
        let v = s.mul_add(s.splat(beta2), v, s.mul(s.mul(s.splat(1.0 - beta2), g), g));
        let root = s.mul_add(s.sqrt(v), s.splat(root_factor), s.splat(eps));
        let step = s.div(s.mul(s.splat(rate), m), root);
        [s.sub(s.mul(s.splat(shrink), param), step), m, v]
    }
}
