//! Matrix product.
//!
//! ```text
//! C = A B        A [M, K]   B [K, N]   C [M, N]
//!
//! dA = dC B^T    dB = A^T dC
//! ```
//!
//! `C[i][j]` is the sum over `k` of `A[i][k] B[k][j]`. Its derivative with respect to `A[i][k]` is `B[k][j]`, and with
//! respect to `B[k][j]` it is `A[i][k]`. The chain rule sums over the remaining index:
//!
//! ```text
//! dA[i][k] = sum over j of dC[i][j] B[k][j]        dB[k][j] = sum over i of A[i][k] dC[i][j]
//! ```

mod cpu;
mod gpu;
pub(crate) mod naive;

use crate::cpu::Isa;
use crate::cpu::gemm::Matrix;
use crate::cpu::profile;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::gpu::gemm::Matrix as OnGpu;
use crate::tensor::{Device, Tensor};

/// Matrix product `A B` of `a` `[M, K]` and `b` `[K, N]`: `[M, N]`.
///
/// ```
/// use glimpse::{ops::matmul, tensor::Tensor};
/// let a = Tensor::from_vec(vec![1.0, 2.0, 3.0, 4.0], &[2, 2])?;
/// let b = Tensor::from_vec(vec![5.0, 6.0], &[2, 1])?;
/// assert_eq!(matmul(&a, &b)?.data(), &[17.0, 39.0]);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where the shapes do not fit.
pub fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let _timer = profile::time("matmul", a.shape());
    let (m, k, n) = match (a.dims(), b.dims()) {
        (&[m, k], &[rows, n]) if k == rows => (m, k, n),
        _ => {
            let got = format_args!("{} and {}", a.shape(), b.shape());
            return Err(Error::shape("matmul", "[M, K] and [K, N]", got));
        }
    };
    let wanted = [a.is_tracked(), b.is_tracked()];
    let (a_kept, b_kept) = (a.detach(), b.detach());
    if let Device::Gpu(gpu) = Device::of(&[a, b]) {
        let matrix = |gpu: &Gpu, t: &Tensor, columns| Ok(OnGpu::new(t.on(gpu)?, columns));
        let c = gpu::multiply(&gpu, [m, k, n], &matrix(&gpu, a, k)?, &matrix(&gpu, b, n)?)?;
        return c.record(&[a, b], move |dc, _| {
            let dc = matrix(&gpu, dc, n)?;
            let da = || gpu::multiply(&gpu, [m, n, k], &dc, &matrix(&gpu, &b_kept, n)?.t());
            let db = || gpu::multiply(&gpu, [k, m, n], &matrix(&gpu, &a_kept, k)?.t(), &dc);
            Ok(vec![
                wanted[0].then(da).transpose()?,
                wanted[1].then(db).transpose()?,
            ])
        });
    }
    let isa = Isa::current();
    let multiply = if isa.is_naive() {
        naive::multiply
    } else {
        cpu::multiply
    };
    let c = multiply(
        isa,
        Matrix::new(a.data(), m, k),
        Matrix::new(b.data(), k, n),
    );
    Tensor::computed(c, &[m, n]).record(&[a, b], move |dc, _| {
        let multiply = if isa.is_naive() {
            naive::multiply
        } else {
            cpu::multiply
        };
        let (a, b) = (
            Matrix::new(a_kept.data(), m, k),
            Matrix::new(b_kept.data(), k, n),
        );
        let dc = Matrix::new(dc.data(), m, n);
        Ok(vec![
            wanted[0].then(|| Tensor::computed(multiply(isa, dc, b.t()), &[m, k])),
            wanted[1].then(|| Tensor::computed(multiply(isa, a.t(), dc), &[k, n])),
        ])
    })
}

#[cfg(test)]
mod tests;
