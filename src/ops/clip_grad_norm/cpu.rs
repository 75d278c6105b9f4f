//! SIMD kernels. Each task sums one chunk of the elements; the chunks' sums are added in order.

use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, threads};

// Elements per task: a quarter of a megabyte.
const CHUNK: usize = 1 << 16;

/// `sum of g^2`
pub(crate) fn squares(isa: Isa, g: &[f32]) -> f64 {
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

/// `g = g * factor`
pub(crate) fn scale(isa: Isa, g: &mut [f32], factor: f32) {
    threads::for_each_chunk(g, CHUNK, |_, g| isa.dispatch(Scale(g, factor)));
}

struct Scale<'a>(&'a mut [f32], f32);

impl WithSimd for Scale<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        self.0.iter_mut().for_each(|g| *g *= self.1);
    }
}
