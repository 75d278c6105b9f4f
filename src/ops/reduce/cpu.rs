//! SIMD kernel with sixteen partial sums. Each task sums one chunk of the elements; the chunks' sums are added in order.

use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, threads};

// Elements per task: a quarter of a megabyte.
const CHUNK: usize = 1 << 16;

/// The sum of `x`.
pub(crate) fn sum(isa: Isa, x: &[f32]) -> f64 {
    let sums = threads::map(x.len().div_ceil(CHUNK), |i| {
        isa.dispatch(Sum(&x[i * CHUNK..x.len().min((i + 1) * CHUNK)]))
    });
    sums.iter().sum()
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
