//! SIMD kernels. Each task takes one chunk of the elements.

use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, memory, threads};

// Elements per task: a quarter of a megabyte.
const CHUNK: usize = 1 << 16;

/// `y = max(0, x)`
pub(crate) fn forward(isa: Isa, x: &[f32]) -> Vec<f32> {
    let mut y = memory::unset(x.len());
    threads::for_each_chunk(&mut y, CHUNK, |i, y| {
        isa.dispatch(Select {
            y,
            value: &x[i * CHUNK..],
            sign: &x[i * CHUNK..],
        });
    });
    y
}

/// `dx = dy` where `y > 0`, else 0
pub(crate) fn backward(isa: Isa, y: &[f32], dy: &[f32]) -> Vec<f32> {
    let mut dx = memory::unset(y.len());
    threads::for_each_chunk(&mut dx, CHUNK, |i, dx| {
        isa.dispatch(Select {
            y: dx,
            value: &dy[i * CHUNK..],
            sign: &y[i * CHUNK..],
        });
    });
    dx
}

/// `y = value` where `sign > 0`, else 0.
struct Select<'a> {
    y: &'a mut [f32],
    value: &'a [f32],
    sign: &'a [f32],
}

impl WithSimd for Select<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for ((y, &value), &sign) in self.y.iter_mut().zip(self.value).zip(self.sign) {
            *y = if sign > 0.0 { value } else { 0.0 };
        }
    }
}
