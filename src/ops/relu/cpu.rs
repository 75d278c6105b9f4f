//! The same in vectors, a run of elements a task.

use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, memory, threads};

// Elements of one task: a quarter of a megabyte.
const RUN: usize = 1 << 16;

/// `y = max(0, x)`
pub(crate) fn forward(isa: Isa, x: &[f32]) -> Vec<f32> {
    let mut y = memory::unset(x.len());
    threads::for_each_chunk(&mut y, RUN, |i, y| {
        isa.dispatch(Select {
            y,
            from: &x[i * RUN..],
            sign: &x[i * RUN..],
        });
    });
    y
}

/// `dx = dy` where `y > 0`, else 0
pub(crate) fn backward(isa: Isa, y: &[f32], grad: &[f32]) -> Vec<f32> {
    let mut grad_x = memory::unset(y.len());
    threads::for_each_chunk(&mut grad_x, RUN, |i, grad_x| {
        isa.dispatch(Select {
            y: grad_x,
            from: &grad[i * RUN..],
            sign: &y[i * RUN..],
        });
    });
    grad_x
}

/// `y = from` where `sign > 0`, else 0.
struct Select<'a> {
    y: &'a mut [f32],
    from: &'a [f32],
    sign: &'a [f32],
}

impl WithSimd for Select<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for ((y, &from), &sign) in self.y.iter_mut().zip(self.from).zip(self.sign) {
            *y = if sign > 0.0 { from } else { 0.0 };
        }
    }
}
