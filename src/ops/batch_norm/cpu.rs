//! The SIMD loops over rows of [`crate::cpu::rows`].

use super::{Folded, Job, Moments, Norm, gradients};
use crate::cpu::pixels::{Pixels, PixelsMut};
use crate::cpu::rows::{self, NormGrad, moments};
use crate::cpu::{Isa, memory};
use crate::tensor::{Tensor, Wanted};

/// Folds `norm` for the pixels `x`; also returns the moments of the mini-batch if the norm uses them.
pub(crate) fn fold_for(isa: Isa, norm: &Norm, x: Pixels, rows: usize) -> (Folded, Option<Moments>) {
    norm.fold_by(|| moments(isa, x, rows, norm.gamma.len()))
}

/// `y = scale x + shift`, or with ReLU `y = max(0, scale x + shift)`
pub(crate) fn forward(isa: Isa, job: &Job, norm: &Norm) -> (Tensor, Folded, Option<Moments>) {
    let x = job.as_pixels(job.x.data());
    let (folded, moments) = fold_for(isa, norm, x, job.rows);
    let mut y = memory::unset(job.x.len());
    let out = PixelsMut {
        data: &mut y,
        stride: job.channels,
    };
    rows::affine(isa, x, folded.affine(), job.relu, job.rows, out);
    (Tensor::computed(y, job.x.dims()), folded, moments)
}

/// `dx`, `dgamma` and `dbeta`
pub(crate) fn backward(
    isa: Isa,
    job: &Job,
    folded: &Folded,
    dy: &Tensor,
    wanted: Wanted,
) -> Vec<Option<Tensor>> {
    let x_and_dy = [&job.x, dy].map(|t| job.as_pixels(t.data()));
    gradients(&job.x, wanted, |dx| {
        grads(isa, x_and_dy, folded, job.relu, job.rows, dx)
    })
}

/// `dgamma = sum dz xhat` and `dbeta = sum dz`. Adds `scale (dz - dbeta / M - xhat dgamma / M)` to `dx`, or with running
/// statistics `scale dz`.
pub(crate) fn grads(
    isa: Isa,
    [x, dy]: [Pixels; 2],
    folded: &Folded,
    relu: bool,
    rows: usize,
    dx: Option<PixelsMut>,
) -> [Tensor; 2] {
    let [.., mean, inv_std] = folded.rows();
    let grad = NormGrad {
        x,
        dy,
        rows,
        affine: folded.affine(),
        mean,
        inv_std,
        relu,
    };
    let sums = grad.sums(isa);
    if let Some(dx) = dx {
        grad.input(isa, folded.batch.then_some(&sums), dx);
    }
    sums.map(|sums| Tensor::computed(sums, &[mean.len()]))
}
