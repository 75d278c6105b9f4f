//! SIMD kernels along the channels: a window is a few pixels, and the channels of a pixel are contiguous.

use super::Job;
use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, memory, threads};
use crate::tensor::Tensor;

/// `y[n][p][q][c] = max_{u, v} x[n][p S - P + u][q S - P + v][c]`. Each task computes one row of the output.
pub(crate) fn forward(isa: Isa, job: &Job) -> Tensor {
    let &Job {
        input: [height, width],
        output,
        channels,
        ..
    } = job;
    let image = height * width * channels;
    let (x, mut y) = (job.x.data(), memory::unset(job.out_dims().iter().product()));
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
            ..
        } = self.job;
        for (q, y) in self.y.chunks_exact_mut(channels).enumerate() {
            let [rows, columns] = self.job.window([self.p, q]);
            y.fill(f32::NEG_INFINITY);
            for i in rows {
                for j in columns.clone() {
                    let x = &self.x[(i * width + j) * channels..][..channels];
                    for (y, &x) in y.iter_mut().zip(x) {
                        *y = if x > *y || x.is_nan() { x } else { *y };
                    }
                }
            }
        }
    }
}

/// `dx[n][i][j][c] = sum dy[n][p][q][c]`, over the windows whose maximum is at `(i, j)`. Each task takes one image, because
/// windows overlap.
pub(crate) fn backward(isa: Isa, job: &Job, dy: &Tensor) -> Tensor {
    let &Job {
        input: [height, width],
        output,
        channels,
        ..
    } = job;
    let (image, out) = (height * width * channels, output[0] * output[1] * channels);
    let (x, dy, mut dx) = (job.x.data(), dy.data(), memory::zeros(job.x.len()));
    threads::for_each_chunk(&mut dx, image, |n, dx| {
        let (x, dy) = (&x[n * image..][..image], &dy[n * out..][..out]);
        isa.dispatch(BackwardImage { job, x, dy, dx });
    });
    Tensor::computed(dx, job.x.dims())
}

/// Computes the gradient with respect to one image.
struct BackwardImage<'a> {
    job: &'a Job,
    x: &'a [f32],
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
            ..
        } = self.job;
        let mut best = vec![0.0f32; channels];
        let mut chosen = vec![0u32; channels];
        for (pixel, dy) in self.dy.chunks_exact(channels).enumerate() {
            let [rows, columns] = self.job.window([pixel / output[1], pixel % output[1]]);
            // The first pixel is chosen until another is larger, so a pixel is chosen even where all are -inf.
            let first = &self.x[(rows.start * width + columns.start) * channels..][..channels];
            best.copy_from_slice(first);
            chosen.fill(0);
            let mut tap = 0;
            for i in rows.clone() {
                for j in columns.clone() {
                    let x = &self.x[(i * width + j) * channels..][..channels];
                    for ((best, chosen), &x) in best.iter_mut().zip(&mut chosen).zip(x) {
                        let better = x > *best || x.is_nan();
                        *best = if better { x } else { *best };
                        *chosen = if better { tap } else { *chosen };
                    }
                    tap += 1;
                }
            }
            let mut tap = 0;
            for i in rows {
                for j in columns.clone() {
                    let dx = &mut self.dx[(i * width + j) * channels..][..channels];
                    for ((dx, &dy), &chosen) in dx.iter_mut().zip(dy).zip(&chosen) {
                        *dx += if chosen == tap { dy } else { 0.0 };
                    }
                    tap += 1;
                }
            }
        }
    }
}
