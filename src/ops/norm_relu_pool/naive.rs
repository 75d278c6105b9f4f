//! The definition as plain loops; the definition of batch norm computes the affine map and its gradient.

use super::Job;
use crate::cpu::pixels::Pixels;
use crate::ops::batch_norm::{self, Folded, Moments, Norm};
use crate::tensor::{Tensor, Wanted};

/// `z = max(0, scale x + shift)`, `y[n][p][q][c] = 1/s^2 sum_{u, v} z[n][p s + u][q s + v][c]`
pub(super) fn forward(job: &Job, norm: &Norm) -> (Tensor, Folded, Option<Moments>) {
    let x = Pixels::new(job.x.data(), job.channels);
    let (folded, moments) = batch_norm::naive::fold_for(norm, x, job.pixels());
    let z = batch_norm::naive::affine(x, &folded, true, job.pixels());
    let area = (job.window * job.window) as f32;
    let mut y = vec![0.0; job.out_dims().iter().product()];
    for_each_pair(job, |zi, yi| y[yi] += z[zi]);
    y.iter_mut().for_each(|y| *y /= area);
    (Tensor::computed(y, &job.out_dims()), folded, moments)
}

/// `dz[n][p s + u][q s + v][c] = 1/s^2 dy[n][p][q][c]`, then the gradients of batch norm and ReLU
pub(super) fn backward(
    job: &Job,
    folded: &Folded,
    dy: &Tensor,
    wanted: Wanted,
) -> Vec<Option<Tensor>> {
    let (dy, area) = (dy.data(), (job.window * job.window) as f32);
    let mut dz = vec![0.0; job.x.len()];
    for_each_pair(job, |zi, yi| dz[zi] = dy[yi] / area);
    let x_and_dz = [job.x.data(), &dz].map(|data| Pixels::new(data, job.channels));
    batch_norm::gradients(&job.x, wanted, |dx| {
        batch_norm::naive::grads(x_and_dz, folded, true, job.pixels(), dx)
    })
}

/// Calls `body(zi, yi)` with the index of each element of `z` under a window, and that of the window's element of `y`.
fn for_each_pair(job: &Job, mut body: impl FnMut(usize, usize)) {
    let ([height, width], [out_height, out_width]) = (job.input, job.output());
    for n in 0..job.batch {
        for i in 0..out_height * job.window {
            for j in 0..out_width * job.window {
                let (p, q) = (i / job.window, j / job.window);
                let z_pixel = (n * height + i) * width + j;
                let y_pixel = (n * out_height + p) * out_width + q;
                for c in 0..job.channels {
                    body(z_pixel * job.channels + c, y_pixel * job.channels + c);
                }
            }
        }
    }
}
