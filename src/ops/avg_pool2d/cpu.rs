//! SIMD kernels along the channels, which are contiguous.

use super::Sizes;
use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, threads};

/// `y = sum of x / K`. Each task computes one row of the output.
pub(crate) fn forward(isa: Isa, sizes: Sizes, x: &[f32], y: &mut [f32]) {
    let Sizes {
        input: [height, width],
        output,
        channels,
        ..
    } = sizes;
    let image = height * width * channels;
    threads::for_each_chunk(y, output[1] * channels, |i, y| {
        let x = &x[i / output[0] * image..][..image];
        isa.dispatch(ForwardRow {
            sizes,
            x,
            p: i % output[0],
            y,
        });
    });
}

struct ForwardRow<'a> {
    sizes: Sizes,
    x: &'a [f32],
    p: usize,
    y: &'a mut [f32],
}

impl WithSimd for ForwardRow<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Sizes {
            input: [_, width],
            channels,
            kernel,
            stride,
            ..
        } = self.sizes;
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

/// `dx = sum of dy / K`. Each task takes one image, because windows may overlap.
pub(crate) fn backward(isa: Isa, sizes: Sizes, dy: &[f32], dx: &mut [f32]) {
    let Sizes {
        input: [height, width],
        output,
        channels,
        ..
    } = sizes;
    let out = output[0] * output[1] * channels;
    threads::for_each_chunk(dx, height * width * channels, |n, dx| {
        isa.dispatch(BackwardImage {
            sizes,
            dy: &dy[n * out..][..out],
            dx,
        });
    });
}

struct BackwardImage<'a> {
    sizes: Sizes,
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl WithSimd for BackwardImage<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Sizes {
            input: [_, width],
            output,
            channels,
            kernel,
            stride,
        } = self.sizes;
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
