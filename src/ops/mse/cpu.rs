//! SIMD kernels. Each task sums one chunk of the elements; the chunks' sums are added in order.

use super::{Job, TARGET, X};
use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, threads};
use crate::tensor::{Tensor, Wanted};

// Elements per task: a quarter of a megabyte.
const CHUNK: usize = 1 << 16;

/// `y = 1/n sum_i (x[i] - t[i])^2`
pub(crate) fn forward(isa: Isa, job: &Job) -> Tensor {
    let (x, t) = (job.x.data(), job.target.data());
    let sums = threads::map(job.n.div_ceil(CHUNK), |i| {
        let range = i * CHUNK..job.n.min((i + 1) * CHUNK);
        isa.dispatch(Squares(&x[range.clone()], &t[range]))
    });
    Tensor::scalar((sums.iter().sum::<f64>() / job.n as f64) as f32)
}

/// The sum of the squares of the differences.
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

/// `dx[i] = dy 2/n (x[i] - t[i])`, `dt = -dx`
pub(crate) fn backward(isa: Isa, job: &Job, dy: &Tensor, wanted: Wanted) -> Vec<Option<Tensor>> {
    let (x, t) = (job.x.data(), job.target.data());
    let factor = (f64::from(dy.data()[0]) * 2.0 / job.n as f64) as f32;
    let dx = |factor: f32| {
        let mut dx = x.to_vec();
        threads::for_each_chunk(&mut dx, CHUNK, |i, dx| {
            isa.dispatch(Difference(dx, &t[i * CHUNK..], factor));
        });
        Tensor::computed(dx, job.x.dims())
    };
    vec![
        wanted.has(X).then(|| dx(factor)),
        wanted.has(TARGET).then(|| dx(-factor)),
    ]
}

/// Replaces `x` by `factor (x - t)`.
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
