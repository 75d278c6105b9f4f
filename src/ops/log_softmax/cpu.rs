//! SIMD kernels. Each task takes some rows.

use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, math, threads};

// Rows per task.
const ROWS: usize = 8;

/// `y = x - ln sum exp x`
pub(crate) fn forward(isa: Isa, classes: usize, x: &[f32]) -> Vec<f32> {
    let mut y = x.to_vec();
    threads::for_each_chunk(&mut y, ROWS * classes, |_, y| {
        isa.dispatch(Forward(classes, y))
    });
    y
}

struct Forward<'a>(usize, &'a mut [f32]);

impl WithSimd for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for row in self.1.chunks_exact_mut(self.0) {
            let mut chunks = row.chunks_exact(S::LANES);
            let mut maxima = s.splat(f32::NEG_INFINITY);
            for x in &mut chunks {
                maxima = s.max(s.load(x), maxima);
            }
            maxima = s.max(s.load_part(chunks.remainder(), f32::NEG_INFINITY), maxima);
            let largest = s.largest(maxima);

            let (shift, mut sum) = (s.splat(largest), s.splat(0.0));
            let mut chunks = row.chunks_exact(S::LANES);
            for x in &mut chunks {
                sum = s.add(sum, math::exp(s, s.sub(s.load(x), shift)));
            }
            let tail = chunks.remainder();
            let mut last = [0.0; 16];
            let last = &mut last[..tail.len()];
            s.store_part(last, math::exp(s, s.sub(s.load_part(tail, largest), shift)));
            let log = (s.sum(sum) + last.iter().sum::<f32>()).ln();
            row.iter_mut().for_each(|x| *x = (*x - largest) - log);
        }
    }
}

/// `dx = dy - exp(y) sum dy`
pub(crate) fn backward(isa: Isa, classes: usize, y: &[f32], dy: &[f32]) -> Vec<f32> {
    let mut dx = y.to_vec();
    threads::for_each_chunk(&mut dx, ROWS * classes, |i, dx| {
        math::apply(isa, math::Function::Exp, dx);
        let dy = &dy[i * ROWS * classes..][..dx.len()];
        isa.dispatch(Backward { classes, dy, dx });
    });
    dx
}

struct Backward<'a> {
    classes: usize,
    dy: &'a [f32],
    /// Holds `exp(y)` and is overwritten by `dx`.
    dx: &'a mut [f32],
}

impl WithSimd for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let rows = self
            .dx
            .chunks_exact_mut(self.classes)
            .zip(self.dy.chunks_exact(self.classes));
        for (dx, dy) in rows {
            let mut chunks = dy.chunks_exact(S::LANES);
            let mut sum = s.splat(0.0);
            for dy in &mut chunks {
                sum = s.add(sum, s.load(dy));
            }
            let sum = s.sum(sum) + chunks.remainder().iter().sum::<f32>();
            dx.iter_mut()
                .zip(dy)
                .for_each(|(dx, dy)| *dx = dy - *dx * sum);
        }
    }
}
