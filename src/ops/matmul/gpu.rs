//! The tiled matrix product of [`crate::gpu::gemm`]. A transposition only swaps strides.

use super::{A, B, Job};
use crate::error::Result;
use crate::gpu::gemm::{Matrix, Product, gemm};
use crate::gpu::{Gpu, Slice};
use crate::tensor::{Tensor, Wanted};

/// `C = A B`
pub(crate) fn forward(gpu: &Gpu, job: &Job) -> Result<Tensor> {
    let a = Matrix::new(job.a.on(gpu)?, job.k);
    let b = Matrix::new(job.b.on(gpu)?, job.n);
    multiply(gpu, [job.m, job.k, job.n], &a, &b)
}

/// `dA = dC B^T` and `dB = A^T dC`
pub(crate) fn backward(
    gpu: &Gpu,
    job: &Job,
    dc: &Tensor,
    wanted: Wanted,
) -> Result<Vec<Option<Tensor>>> {
    let &Job { m, k, n, .. } = job;
    let dc = Matrix::new(dc.on(gpu)?, n);
    let da = || {
        let b = Matrix::new(job.b.on(gpu)?, n);
        multiply(gpu, [m, n, k], &dc, &b.t())
    };
    let db = || {
        let a = Matrix::new(job.a.on(gpu)?, k);
        multiply(gpu, [k, m, n], &a.t(), &dc)
    };
    Ok(vec![wanted.then(A, da)?, wanted.then(B, db)?])
}

/// The product of `[m, k]` and `[k, n]`; `sizes` are `m`, `k`, `n`.
fn multiply(gpu: &Gpu, sizes: [usize; 3], a: &Matrix, b: &Matrix) -> Result<Tensor> {
    let [m, _, n] = sizes;
    let c = Slice::from(gpu.unset(m * n)?);
    gemm(gpu, sizes, a, b, &Product::into(c.clone(), n))?;
    Ok(Tensor::from_gpu(c.buffer, &[m, n]))
}
