//! SIMD kernels. Each task takes one chunk of the elements.

use super::Mask;
use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, memory, threads};
use crate::tensor::Tensor;

// Elements per task: a power of two, so all elements of a task have the same high half of their index.
const CHUNK: usize = 1 << 16;

/// `y[i] = x[i] k[i] / (1 - p)`
pub(crate) fn forward(isa: Isa, mask: Mask, x: &Tensor) -> Tensor {
    let data = x.data();
    let mut y = memory::unset(data.len());
    threads::for_each_chunk(&mut y, CHUNK, |i, y| {
        let first = i as u64 * CHUNK as u64;
        isa.dispatch(Chunk {
            mask,
            first,
            x: &data[i * CHUNK..],
            y,
        });
    });
    Tensor::computed(y, x.dims())
}

/// `dx[i] = dy[i] k[i] / (1 - p)`
pub(crate) fn backward(isa: Isa, mask: Mask, dy: &Tensor) -> Tensor {
    forward(isa, mask, dy)
}

struct Chunk<'a> {
    mask: Mask,
    first: u64,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl WithSimd for Chunk<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let (low, high) = (self.first as u32, (self.first >> 32) as u32);
        for (i, (y, &x)) in (0u32..).zip(self.y.iter_mut().zip(self.x)) {
            *y = x * self.mask.factor(low + i, high);
        }
    }
}
