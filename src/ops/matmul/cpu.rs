//! The packed matrix product of [`crate::cpu::gemm`]. A transposition only swaps strides.

use super::{A, B, Job};
use crate::cpu::gemm::{Matrix, Product, gemm};
use crate::cpu::{Isa, memory};
use crate::tensor::{Tensor, Wanted};

/// `C = A B`
pub(crate) fn forward(isa: Isa, job: &Job) -> Tensor {
    let a = Matrix::new(job.a.data(), job.m, job.k);
    let b = Matrix::new(job.b.data(), job.k, job.n);
    multiply(isa, a, b)
}

/// `dA = dC B^T` and `dB = A^T dC`
pub(crate) fn backward(isa: Isa, job: &Job, dc: &Tensor, wanted: Wanted) -> Vec<Option<Tensor>> {
    let a = Matrix::new(job.a.data(), job.m, job.k);
    let b = Matrix::new(job.b.data(), job.k, job.n);
    let dc = Matrix::new(dc.data(), job.m, job.n);
    vec![
        wanted.has(A).then(|| multiply(isa, dc, b.t())),
        wanted.has(B).then(|| multiply(isa, a.t(), dc)),
    ]
}

fn multiply(isa: Isa, a: Matrix, b: Matrix) -> Tensor {
    let mut c = memory::unset(a.rows * b.columns);
    gemm(isa, a, b, Product::into(&mut c, b.columns));
    Tensor::computed(c, &[a.rows, b.columns])
}
