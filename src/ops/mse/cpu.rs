//! SIMD kernels. Each task sums one chunk of the elements; the chunks' sums are added in order.

use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, threads};

// Elements per task: a quarter of a megabyte.
const CHUNK: usize = 1 << 16;

/// `sum of (x - t)^2`
pub(crate) fn forward(isa: Isa, x: &[f32], t: &[f32]) -> f64 {
    let sums = threads::map(x.len().div_ceil(CHUNK), |i| {
        let range = i * CHUNK..x.len().min((i + 1) * CHUNK);
        isa.dispatch(Squares(&x[range.clone()], &t[range]))
    });
    sums.iter().sum()
}

struct Squares<'a>(&'a [f32], &'a [f32]);

impl WithSimd for Squares<'_> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> f64 {
        let mut sums = [0.0f64; 16];
        for (x, t) in self.0.chunks(16).zip(self.1.chunks(16)) {
            for ((sum, &x), &t) in sums.iter_mut().zip(x).zip(t) {
                let d = f64::from(x - t);
                *sum += d * d;
            }
        }
        sums.iter().sum()
    }
}

/// `dx = factor (x - t)`, with `factor = 2 dy / n`
pub(crate) fn backward(isa: Isa, x: &[f32], t: &[f32], factor: f32) -> Vec<f32> {
    let mut dx = x.to_vec();
    threads::for_each_chunk(&mut dx, CHUNK, |i, dx| {
        isa.dispatch(Difference(dx, &t[i * CHUNK..], factor));
    });
    dx
}

struct Difference<'a>(&'a mut [f32], &'a [f32], f32);

impl WithSimd for Difference<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        self.0
            .iter_mut()
            .zip(self.1)
            .for_each(|(x, t)| *x = self.2 * (*x - t));
    }
}
