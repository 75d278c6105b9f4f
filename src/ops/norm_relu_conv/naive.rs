//! The definition: batch norm, ReLU and convolution, one after the other.

use super::{BETA, GAMMA, Job, WEIGHT, X};
use crate::cpu::pixels::{Pixels, PixelsMut};
use crate::ops::batch_norm::{self, Folded, Moments, Norm};
use crate::ops::conv2d;
use crate::tensor::{Tensor, Wanted};

/// `z = max(0, scale x + shift)`
fn activated(job: &Job, folded: &Folded) -> Vec<f32> {
    batch_norm::naive::affine(
        Pixels::new(job.x.data(), job.shape.channels),
        folded,
        true,
        job.shape.pixels(),
    )
}

/// `y = conv(z, w)`
pub(crate) fn forward(job: &Job, norm: &Norm) -> (Tensor, Folded, Option<Moments>) {
    let (shape, x) = (&job.shape, Pixels::new(job.x.data(), job.shape.channels));
    let (folded, moments) = batch_norm::naive::fold_for(norm, x, shape.pixels());
    let z = activated(job, &folded);
    let sums = conv2d::naive::convolve(shape, &z, job.weight.data(), job.precision);
    let y = sums.into_iter().map(|sum| sum as f32).collect();
    (Tensor::computed(y, &shape.out_dims()), folded, moments)
}

/// `dx`, `dgamma`, `dbeta` and `dw`
pub(crate) fn backward(
    job: &Job,
    folded: &Folded,
    dy: &Tensor,
    wanted: Wanted,
) -> Vec<Option<Tensor>> {
    let [dx, dgamma, dbeta, dw] = gradients(job, folded, dy);
    vec![
        wanted.has(X).then_some(dx),
        wanted.has(GAMMA).then_some(dgamma),
        wanted.has(BETA).then_some(dbeta),
        wanted.has(WEIGHT).then_some(dw),
    ]
}

/// All four gradients: those of the convolution, then those of batch norm and ReLU.
pub(crate) fn gradients(job: &Job, folded: &Folded, dy: &Tensor) -> [Tensor; 4] {
    let (shape, weight) = (&job.shape, &job.weight);
    let z = activated(job, folded);
    let [dz, dw] = conv2d::naive::gradients(shape, &z, weight.data(), dy.data());
    let mut dx = vec![0.0; job.x.len()];
    let out = PixelsMut::new(&mut dx, shape.channels);
    let x_and_dz = [job.x.data(), &dz].map(|data| Pixels::new(data, job.shape.channels));
    let pixels = shape.pixels();
    let [dgamma, dbeta] = batch_norm::naive::grads(x_and_dz, folded, true, pixels, Some(out));
    let dx = Tensor::computed(dx, job.x.dims());
    [dx, dgamma, dbeta, Tensor::computed(dw, weight.dims())]
}
