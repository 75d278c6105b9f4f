//! The same in vectors, a run of elements a task; the runs are added in order.

use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, threads};

// Elements of one task: a quarter of a megabyte.
const RUN: usize = 1 << 16;

/// `sum of (x - t)^2`
pub(crate) fn forward(isa: Isa, x: &[f32], t: &[f32]) -> f64 {
    let runs = threads::map(x.len().div_ceil(RUN), |i| {
        let range = i * RUN..x.len().min((i + 1) * RUN);
        isa.dispatch(Squares(&x[range.clone()], &t[range]))
    });
    runs.iter().sum()
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

/// `factor (x - t)`
pub(crate) fn backward(isa: Isa, x: &[f32], t: &[f32], factor: f32) -> Vec<f32> {
    let mut y = x.to_vec();
    threads::for_each_chunk(&mut y, RUN, |i, y| {
        isa.dispatch(Difference(y, &t[i * RUN..], factor));
    });
    y
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
