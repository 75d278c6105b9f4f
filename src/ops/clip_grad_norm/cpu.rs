//! SIMD kernels. Each task sums one chunk of the elements; the chunks' sums are added in order.

use super::factor;
use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, elements, threads};
use crate::tensor::Tensor;

// Elements per task: a quarter of a megabyte.
const CHUNK: usize = 1 << 16;

/// `norm = sqrt(sum g^2)`, `g *= min(1, max_norm / (norm + 1e-6))`
pub(crate) fn forward(isa: Isa, grads: &mut [Tensor], max_norm: f32) -> Tensor {
    let squares = grads.iter().map(|g| squares(isa, g.data()));
    let norm = squares.sum::<f64>().sqrt();
    if let Some(factor) = factor(norm, max_norm) {
        for g in grads {
            elements::scale(isa, g.data_mut(), factor);
        }
    }
    Tensor::scalar(norm as f32)
}

/// `sum g^2` of one gradient.
fn squares(isa: Isa, g: &[f32]) -> f64 {
    let sums = threads::map(g.len().div_ceil(CHUNK), |i| {
        isa.dispatch(Squares(&g[i * CHUNK..g.len().min((i + 1) * CHUNK)]))
    });
    sums.iter().sum()
}

struct Squares<'a>(&'a [f32]);

impl WithSimd for Squares<'_> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> f64 {
        let mut sums = [0.0f64; 16];
        for g in self.0.chunks(16) {
            for (sum, &g) in sums.iter_mut().zip(g) {
                *sum += f64::from(g) * f64::from(g);
            }
        }
        sums.iter().sum()
    }
}
