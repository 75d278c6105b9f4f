//! Whole rows at a time: copied in the forward pass, added with SIMD in the backward pass.

use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, memory};

/// `y[r] = W[ids[r]]`
pub(crate) fn forward(_: Isa, weight: &[f32], width: usize, ids: &[usize]) -> Vec<f32> {
    let mut y = memory::unset(ids.len() * width);
    for (row, id) in y.chunks_exact_mut(width.max(1)).zip(ids) {
        row.copy_from_slice(&weight[id * width..][..width]);
    }
    y
}

/// `dW[ids[r]] += dy[r]`, in the order of `ids`
pub(crate) fn backward(isa: Isa, dy: &[f32], rows: usize, width: usize, ids: &[usize]) -> Vec<f32> {
    let mut dw = memory::zeros(rows * width);
    isa.dispatch(AddRows {
        dw: &mut dw,
        dy,
        width,
        ids,
    });
    dw
}

struct AddRows<'a> {
    dw: &'a mut [f32],
    dy: &'a [f32],
    width: usize,
    ids: &'a [usize],
}

impl WithSimd for AddRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (r, id) in self.ids.iter().enumerate() {
            let dw = &mut self.dw[id * self.width..][..self.width];
            let dy = &self.dy[r * self.width..][..self.width];
            dw.iter_mut().zip(dy).for_each(|(dw, dy)| *dw += dy);
        }
    }
}
