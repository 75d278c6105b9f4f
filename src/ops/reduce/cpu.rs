//! SIMD kernel with sixteen partial sums. Each task sums one chunk of the elements; the chunks' sums are added in order.

use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, threads};
use crate::tensor::Tensor;

// Elements per task: a quarter of a megabyte.
const CHUNK: usize = 1 << 16;

/// `y = 1/count sum_i x[i]`
pub(crate) fn forward(isa: Isa, x: &Tensor, count: f64) -> Tensor {
    let x = x.data();
    let sums = threads::map(x.len().div_ceil(CHUNK), |i| {
        isa.dispatch(Sum(&x[i * CHUNK..x.len().min((i + 1) * CHUNK)]))
    });
    Tensor::scalar((sums.iter().sum::<f64>() / count) as f32)
}

/// `dx[i] = dy / count`, with dimensions `dims`.
pub(crate) fn backward(_: Isa, dy: &Tensor, dims: &[usize], count: f64) -> Tensor {
    Tensor::full(dims, (f64::from(dy.data()[0]) / count) as f32)
}

struct Sum<'a>(&'a [f32]);

impl WithSimd for Sum<'_> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> f64 {
        let mut sums = [0.0f64; 16];
        let mut chunks = self.0.chunks_exact(16);
        for x in &mut chunks {
            for (sum, &x) in sums.iter_mut().zip(x) {
                *sum += f64::from(x);
            }
        }
        let rest: f64 = chunks.remainder().iter().map(|&x| f64::from(x)).sum();
        sums.iter().sum::<f64>() + rest
    }
}
