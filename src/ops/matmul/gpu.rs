//! The tiled matrix product of [`crate::gpu::gemm`]. A transposition only swaps strides.

use crate::error::Result;
use crate::gpu::gemm::{Matrix, Product, gemm};
use crate::gpu::{Gpu, Slice};
use crate::tensor::Tensor;

/// `C = A B` with `A` `[m, k]` and `B` `[k, n]`; `sizes` are `m`, `k`, `n`.
pub(crate) fn multiply(gpu: &Gpu, sizes: [usize; 3], a: &Matrix, b: &Matrix) -> Result<Tensor> {
    let [m, _, n] = sizes;
    let c = Slice::from(gpu.unset(m * n)?);
    gemm(gpu, sizes, a, b, &Product::into(c.clone(), n))?;
    Ok(Tensor::from_gpu(c.buffer, &[m, n]))
}
