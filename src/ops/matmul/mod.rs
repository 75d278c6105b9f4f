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

use crate::cpu::profile;
use crate::error::{Error, Result};
use crate::tensor::{Place, Tensor};

// The inputs, as the tape numbers them.
const A: usize = 0;
const B: usize = 1;

/// The inputs, whose shapes fit, and their sizes.
pub(crate) struct Job {
    /// `[M, K]`
    a: Tensor,
    /// `[K, N]`
    b: Tensor,
    m: usize,
    k: usize,
    n: usize,
}

impl Job {
    fn check(a: &Tensor, b: &Tensor) -> Result<Job> {
        let (m, k, n) = match (a.dims(), b.dims()) {
            (&[m, k], &[rows, n]) if k == rows => (m, k, n),
            _ => {
                let got = format_args!("{} and {}", a.shape(), b.shape());
                return Err(Error::shape("matmul", "[M, K] and [K, N]", got));
            }
        };
        Ok(Job {
            a: a.clone(),
            b: b.clone(),
            m,
            k,
            n,
        })
    }
}

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
    let job = Job::check(a, b)?;
    let place = Place::of(&[a, b]);
    let c = match &place {
        Place::Naive => naive::forward(&job),
        Place::Cpu(isa) => cpu::forward(*isa, &job),
        Place::Gpu(gpu) => gpu::forward(gpu, &job)?,
    };
    c.record(&[a, b], move |dc, wanted| match &place {
        Place::Naive => Ok(naive::backward(&job, dc, wanted)),
        Place::Cpu(isa) => Ok(cpu::backward(*isa, &job, dc, wanted)),
        Place::Gpu(gpu) => gpu::backward(gpu, &job, dc, wanted),
    })
}

#[cfg(test)]
mod tests;
