//! The SIMD kernel: both passes are a selection. Each task takes one chunk of the elements.

use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, memory, threads};
use crate::tensor::Tensor;

// Elements per task: a quarter of a megabyte.
const CHUNK: usize = 1 << 16;

/// `y = max(0, x)`
pub(crate) fn forward(isa: Isa, x: &Tensor) -> Tensor {
    select(isa, x, x)
}

/// `dx = dy` where `y > 0`, else 0
pub(crate) fn backward(isa: Isa, y: &Tensor, dy: &Tensor) -> Tensor {
    select(isa, y, dy)
}

/// `value` where `condition > 0`, else 0.
fn select(isa: Isa, condition: &Tensor, value: &Tensor) -> Tensor {
    let (condition, values) = (condition.data(), value.data());
    let mut y = memory::unset(values.len());
    threads::for_each_chunk(&mut y, CHUNK, |i, y| {
        isa.dispatch(Select {
            y,
            value: &values[i * CHUNK..],
            condition: &condition[i * CHUNK..],
        });
    });
    Tensor::computed(y, value.dims())
}

/// `y = value` where `condition > 0`, else 0, within one chunk.
struct Select<'a> {
    y: &'a mut [f32],
    value: &'a [f32],
    condition: &'a [f32],
}

impl WithSimd for Select<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for ((y, &value), &condition) in self.y.iter_mut().zip(self.value).zip(self.condition) {
            *y = if condition > 0.0 { value } else { 0.0 };
        }
    }
}
