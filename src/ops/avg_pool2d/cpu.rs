//! SIMD kernels along the channels, which are contiguous.

use super::Job;
use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, memory, threads};
use crate::tensor::Tensor;

/// `y[n][p][q][c] = 1/K sum_{u, v} x[n][p S + u][q S + v][c]`. Each task computes one row of the output.
pub(crate) fn forward(isa: Isa, job: &Job, x: &Tensor) -> Tensor {
    let &Job {
        input: [height, width],
        output,
        channels,
        ..
    } = job;
    let image = height * width * channels;
    let (x, mut y) = (x.data(), memory::zeros(job.out_dims().iter().product()));
    threads::for_each_chunk(&mut y, output[1] * channels, |i, y| {
        let x = &x[i / output[0] * image..][..image];
        isa.dispatch(ForwardRow {
            job,
            x,
            p: i % output[0],
            y,
        });
    });
    Tensor::computed(y, &job.out_dims())
}

/// Computes row `p` of the output of one image.
struct ForwardRow<'a> {
    job: &'a Job,
    x: &'a [f32],
    p: usize,
    y: &'a mut [f32],
}

impl WithSimd for ForwardRow<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let &Job {
            input: [_, width],
            channels,
            kernel,
            stride,
            ..
        } = self.job;
        let factor = 1.0 / (kernel[0] * kernel[1]) as f32;
        for (q, y) in self.y.chunks_exact_mut(channels).enumerate() {
            for u in 0..kernel[0] {
                for v in 0..kernel[1] {
                    let (i, j) = (self.p * stride[0] + u, q * stride[1] + v);
                    let x = &self.x[(i * width + j) * channels..][..channels];
                    y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
                }
            }
            y.iter_mut().for_each(|y| *y *= factor);
        }
    }
}

/// `dx[n][i][j][c] = 1/K sum dy[n][p][q][c]`, over the windows that cover `(i, j)`. Each task takes one image, because windows
/// may overlap.
pub(crate) fn backward(isa: Isa, job: &Job, dy: &Tensor) -> Tensor {
    let &Job {
        input: [height, width],
        output,
        channels,
        ..
    } = job;
    let out = output[0] * output[1] * channels;
    let (dy, mut dx) = (dy.data(), memory::zeros(job.in_dims().iter().product()));
    threads::for_each_chunk(&mut dx, height * width * channels, |n, dx| {
        isa.dispatch(BackwardImage {
            job,
            dy: &dy[n * out..][..out],
            dx,
        });
    });
    Tensor::computed(dx, &job.in_dims())
}

/// Computes the gradient with respect to one image.
struct BackwardImage<'a> {
    job: &'a Job,
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl WithSimd for BackwardImage<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let &Job {
            input: [_, width],
            output,
            channels,
            kernel,
            stride,
            ..
        } = self.job;
        let factor = 1.0 / (kernel[0] * kernel[1]) as f32;
        for (pixel, dy) in self.dy.chunks_exact(channels).enumerate() {
            let (p, q) = (pixel / output[1], pixel % output[1]);
            for u in 0..kernel[0] {
                for v in 0..kernel[1] {
                    let (i, j) = (p * stride[0] + u, q * stride[1] + v);
                    let dx = &mut self.dx[(i * width + j) * channels..][..channels];
                    dx.iter_mut()
                        .zip(dy)
                        .for_each(|(dx, dy)| *dx += dy * factor);
                }
            }
        }
    }
}
