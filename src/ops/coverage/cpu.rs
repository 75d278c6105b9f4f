//! SIMD loops over positions. Each task takes one sentence.

use super::{Job, Saved, Sizes};
use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, threads};
use crate::tensor::Tensor;

/// `m[s, p] = 1 - sum over counted t of a[s, t, p]`, `y = 1/S sum over s, p of m[s, p]^2`
pub(crate) fn forward(isa: Isa, job: &Job) -> (Tensor, Saved) {
    let Sizes {
        sentences,
        steps,
        positions,
    } = job.sizes;
    let a = job.attention.data();
    let mut m = vec![1.0; sentences * positions];
    threads::for_each_chunk(&mut m, positions.max(1), |s, m| {
        for t in (0..steps).filter(|t| job.counted[s * steps + t]) {
            let a = &a[(s * steps + t) * positions..][..positions];
            isa.dispatch(Subtract(m, a));
        }
    });
    job.penalty(m)
}

/// `da[s, t, p] = -2/S m[s, p] dy` where `t` is counted, else 0
pub(crate) fn backward(isa: Isa, saved: &Saved, dy: &Tensor) -> Tensor {
    let Sizes {
        sentences,
        steps,
        positions,
    } = saved.sizes;
    let (m, counted) = (saved.missing.data(), saved.counted.data());
    let factor = -2.0 / sentences as f32 * dy.data()[0];
    let mut da = vec![0.0; sentences * steps * positions];
    let sentence = (steps * positions).max(1);
    threads::for_each_chunk(&mut da, sentence, |s, da| {
        let m = &m[s * positions..][..positions];
        for t in (0..steps).filter(|t| counted[s * steps + t] == 1.0) {
            let da = &mut da[t * positions..][..positions];
            isa.dispatch(Scaled(da, m, factor));
        }
    });
    Tensor::computed(da, &[sentences, steps, positions])
}

/// `self.0 -= self.1`
struct Subtract<'a>(&'a mut [f32], &'a [f32]);

impl WithSimd for Subtract<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        self.0.iter_mut().zip(self.1).for_each(|(m, a)| *m -= a);
    }
}

/// `self.0 = factor self.1`
struct Scaled<'a>(&'a mut [f32], &'a [f32], f32);

impl WithSimd for Scaled<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let pairs = self.0.iter_mut().zip(self.1);
        pairs.for_each(|(da, m)| *da = self.2 * m);
    }
}
