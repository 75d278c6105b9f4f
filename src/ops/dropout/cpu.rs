//! The same in vectors, a run of elements a task.

use super::Mask;
use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, memory, threads};

// Elements of one task; a power of two, so that the high word of the index is the same for all of them.
const RUN: usize = 1 << 16;

/// `y = x k / (1 - p)`
pub(crate) fn forward(isa: Isa, mask: Mask, x: &[f32]) -> Vec<f32> {
    let mut y = memory::unset(x.len());
    threads::for_each_chunk(&mut y, RUN, |i, y| {
        let first = i as u64 * RUN as u64;
        isa.dispatch(Run {
            mask,
            first,
            x: &x[i * RUN..],
            y,
        });
    });
    y
}

struct Run<'a> {
    mask: Mask,
    first: u64,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl WithSimd for Run<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let (low, high) = (self.first as u32, (self.first >> 32) as u32);
        for (i, (y, &x)) in (0u32..).zip(self.y.iter_mut().zip(self.x)) {
            *y = x * self.mask.factor(low + i, high);
        }
    }
}
