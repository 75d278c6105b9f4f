//! The definition as plain loops.

use super::{A, B, Job};
use crate::tensor::{Tensor, Wanted};

/// `C[i][j] = sum_k A[i][k] B[k][j]`
pub(crate) fn forward(job: &Job) -> Tensor {
    let &Job { m, k, n, .. } = job;
    let (a, b) = (job.a.data(), job.b.data());
    let mut c = vec![0.0; m * n];
    for i in 0..m {
        for j in 0..n {
            for p in 0..k {
                c[i * n + j] += a[i * k + p] * b[p * n + j];
            }
        }
    }
    Tensor::computed(c, &[m, n])
}

/// `dA[i][k] = sum_j dC[i][j] B[k][j]`, `dB[k][j] = sum_i A[i][k] dC[i][j]`
pub(crate) fn backward(job: &Job, dc: &Tensor, wanted: Wanted) -> Vec<Option<Tensor>> {
    let &Job { m, k, n, .. } = job;
    let (a, b, dc) = (job.a.data(), job.b.data(), dc.data());
    let mut da = vec![0.0; m * k];
    let mut db = vec![0.0; k * n];
    for i in 0..m {
        for j in 0..n {
            for p in 0..k {
                da[i * k + p] += dc[i * n + j] * b[p * n + j];
                db[p * n + j] += a[i * k + p] * dc[i * n + j];
            }
        }
    }
    vec![
        wanted.has(A).then(|| Tensor::computed(da, &[m, k])),
        wanted.has(B).then(|| Tensor::computed(db, &[k, n])),
    ]
}
