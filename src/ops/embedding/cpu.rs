//! Whole rows at a time: copied in the forward pass, added with SIMD in the backward pass.

use super::Job;
use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, memory};
use crate::tensor::Tensor;

/// `y[r] = W[ids[r]]`
pub(crate) fn forward(_: Isa, job: &Job) -> Tensor {
    let (weight, width) = (job.weight.data(), job.width);
    let mut y = memory::unset(job.ids.len() * width);
    for (row, id) in y.chunks_exact_mut(width.max(1)).zip(&job.ids) {
        row.copy_from_slice(&weight[id * width..][..width]);
    }
    Tensor::computed(y, &[job.ids.len(), width])
}

/// `dW[ids[r]] += dy[r]`, in the order of `ids`
pub(crate) fn backward(isa: Isa, job: &Job, dy: &Tensor) -> Tensor {
    let mut dw = memory::zeros(job.rows * job.width);
    isa.dispatch(AddRows {
        dw: &mut dw,
        dy: dy.data(),
        width: job.width,
        ids: &job.ids,
    });
    Tensor::computed(dw, &[job.rows, job.width])
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
