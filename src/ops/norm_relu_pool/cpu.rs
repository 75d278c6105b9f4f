//! SIMD kernels along the channels. Each task takes one row of the output, or of `dz` in the backward pass.

use super::Job;
use crate::cpu::after::Affine;
use crate::cpu::pixels::Pixels;
use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, memory, threads};
use crate::ops::batch_norm::{self, Folded, Moments, Norm};
use crate::tensor::{Tensor, Wanted};

/// `y[n][p][q][c] = 1/s^2 sum_{u, v} max(0, scale x[n][p s + u][q s + v][c] + shift)`
pub(super) fn forward(isa: Isa, job: &Job, norm: &Norm) -> (Tensor, Folded, Option<Moments>) {
    let x = job.x.data();
    let (folded, moments) =
        batch_norm::cpu::fold_for(isa, norm, Pixels::new(x, job.channels), job.pixels());
    let affine = folded.affine();
    let ([height, width], [out_height, out_width]) = (job.input, job.output());
    let mut y = memory::unset(job.out_dims().iter().product());
    threads::for_each_chunk(&mut y, out_width * job.channels, |row, y| {
        let (image, p) = (row / out_height, row % out_height);
        let first = (image * height + p * job.window) * width * job.channels;
        let x = &x[first..first + job.window * width * job.channels];
        isa.dispatch(ForwardRow { job, x, affine, y });
    });
    (Tensor::computed(y, &job.out_dims()), folded, moments)
}

/// `dz[n][p s + u][q s + v][c] = 1/s^2 dy[n][p][q][c]`, then the gradients of batch norm and ReLU
pub(super) fn backward(
    isa: Isa,
    job: &Job,
    folded: &Folded,
    dy: &Tensor,
    wanted: Wanted,
) -> Vec<Option<Tensor>> {
    let mut dz = memory::zeros(job.x.len());
    spread(isa, job, dy.data(), &mut dz);
    let x_and_dz = [job.x.data(), &dz].map(|data| Pixels::new(data, job.channels));
    let grads = batch_norm::gradients(&job.x, wanted, |dx| {
        batch_norm::cpu::grads(isa, x_and_dz, folded, true, job.pixels(), dx)
    });
    memory::recycle(dz);
    grads
}

/// Computes one row of the output from the rows of the input under its windows.
struct ForwardRow<'a> {
    job: &'a Job,
    x: &'a [f32],
    affine: Affine<'a>,
    y: &'a mut [f32],
}

impl WithSimd for ForwardRow<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let &Job {
            input: [_, width],
            channels,
            window,
            ..
        } = self.job;
        let factor = 1.0 / (window * window) as f32;
        let whole = channels - channels % S::LANES;
        for (q, y) in self.y.chunks_exact_mut(channels).enumerate() {
            for c in (0..whole).step_by(S::LANES) {
                let (scale, shift) = (
                    s.load(&self.affine.scale[c..]),
                    s.load(&self.affine.shift[c..]),
                );
                let mut sum = s.splat(0.0);
                for (u, v) in (0..window).flat_map(|u| (0..window).map(move |v| (u, v))) {
                    let x = s.load(&self.x[(u * width + q * window + v) * channels + c..]);
                    sum = s.add(sum, s.max(s.mul_add(x, scale, shift), s.splat(0.0)));
                }
                s.store(&mut y[c..], s.mul(sum, s.splat(factor)));
            }
            for (c, y) in y.iter_mut().enumerate().skip(whole) {
                let mut sum = 0.0;
                for (u, v) in (0..window).flat_map(|u| (0..window).map(move |v| (u, v))) {
                    let x = self.x[(u * width + q * window + v) * channels + c];
                    sum += self.affine.relu_one(x, c);
                }
                *y = sum * factor;
            }
        }
    }
}

/// `dz = dy / s^2` under each window; `dz` starts as zeros.
fn spread(isa: Isa, job: &Job, dy: &[f32], dz: &mut [f32]) {
    let ([height, width], [out_height, out_width]) = (job.input, job.output());
    let row = out_width * job.channels;
    threads::for_each_chunk(dz, width * job.channels, |i, dz| {
        let (image, p) = (i / height, i % height / job.window);
        if p < out_height {
            let dy = &dy[(image * out_height + p) * row..][..row];
            isa.dispatch(SpreadRow { job, dy, dz });
        }
    });
}

/// Computes one row of `dz` from the row of `dy` whose windows cover it.
struct SpreadRow<'a> {
    job: &'a Job,
    dy: &'a [f32],
    dz: &'a mut [f32],
}

impl WithSimd for SpreadRow<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let &Job {
            channels, window, ..
        } = self.job;
        let factor = 1.0 / (window * window) as f32;
        for (dz, dy) in self
            .dz
            .chunks_exact_mut(window * channels)
            .zip(self.dy.chunks_exact(channels))
        {
            for dz in dz.chunks_exact_mut(channels) {
                dz.iter_mut().zip(dy).for_each(|(dz, dy)| *dz = dy * factor);
            }
        }
    }
}
