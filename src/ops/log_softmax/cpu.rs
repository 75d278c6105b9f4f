//! SIMD kernels. Each task takes some rows.

use super::sizes;
use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, elements, math, threads};
use crate::tensor::Tensor;

// Rows per task.
const ROWS: usize = 8;

/// `y[r][v] = x[r][v] - ln sum_u exp x[r][u]`
pub(crate) fn forward(isa: Isa, x: &Tensor) -> Tensor {
    let [_, classes] = sizes(x);
    let mut y = x.data().to_vec();
    threads::for_each_chunk(&mut y, ROWS * classes, |_, y| {
        isa.dispatch(Forward { classes, y })
    });
    Tensor::computed(y, x.dims())
}

struct Forward<'a> {
    classes: usize,
    /// Holds `x` and is overwritten by `y`.
    y: &'a mut [f32],
}

impl WithSimd for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for row in self.y.chunks_exact_mut(self.classes) {
            let largest = elements::largest(s, row);
            let log = elements::exponentials(s, row, largest, 1.0, None).ln();
            row.iter_mut().for_each(|x| *x = (*x - largest) - log);
        }
    }
}

/// `dx[r][v] = dy[r][v] - exp(y[r][v]) sum_u dy[r][u]`
pub(crate) fn backward(isa: Isa, y: &Tensor, dy: &Tensor) -> Tensor {
    let [_, classes] = sizes(y);
    let (dims, dy) = (y.dims(), dy.data());
    let mut dx = y.data().to_vec();
    threads::for_each_chunk(&mut dx, ROWS * classes, |i, dx| {
        math::apply(isa, math::Function::Exp, dx);
        let dy = &dy[i * ROWS * classes..][..dx.len()];
        isa.dispatch(Backward { classes, dy, dx });
    });
    Tensor::computed(dx, dims)
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
