//! SIMD loops over positions. Each task takes one sentence.

use super::Sizes;
use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, threads};

/// `m` `[S, P]`: one minus each position's attention over the said steps.
pub(crate) fn forward(isa: Isa, sizes: Sizes, attention: &[f32], said: &[bool]) -> Vec<f32> {
    let Sizes {
        sentences,
        steps,
        positions,
    } = sizes;
    let mut missing = vec![1.0; sentences * positions];
    threads::for_each_chunk(&mut missing, positions.max(1), |s, missing| {
        for t in (0..steps).filter(|t| said[s * steps + t]) {
            let weights = &attention[(s * steps + t) * positions..][..positions];
            isa.dispatch(Subtract(missing, weights));
        }
    });
    missing
}

/// `da` `[S, T, P]`: `factor m` where a word is said.
pub(crate) fn backward(
    isa: Isa,
    sizes: Sizes,
    missing: &[f32],
    said: &[bool],
    factor: f32,
) -> Vec<f32> {
    let Sizes {
        sentences,
        steps,
        positions,
    } = sizes;
    let mut da = vec![0.0; sentences * steps * positions];
    let sentence = (steps * positions).max(1);
    threads::for_each_chunk(&mut da, sentence, |s, da| {
        let missing = &missing[s * positions..][..positions];
        for t in (0..steps).filter(|t| said[s * steps + t]) {
            let da = &mut da[t * positions..][..positions];
            isa.dispatch(Scaled(da, missing, factor));
        }
    });
    da
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
