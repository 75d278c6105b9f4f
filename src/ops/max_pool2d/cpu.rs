//! SIMD kernels along the channels: a window is a few pixels, and the channels of a pixel are contiguous.

use super::Sizes;
use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, threads};

/// `y = x` of the chosen element. Each task computes one row of the output.
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
            ..
        } = self.sizes;
        for (q, y) in self.y.chunks_exact_mut(channels).enumerate() {
            let [rows, columns] = self.sizes.window([self.p, q]);
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

/// `dx += dy` of the chosen element. Each task takes one image, because windows overlap.
pub(crate) fn backward(isa: Isa, sizes: Sizes, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    let Sizes {
        input: [height, width],
        output,
        channels,
        ..
    } = sizes;
    let (image, out) = (height * width * channels, output[0] * output[1] * channels);
    threads::for_each_chunk(dx, image, |n, dx| {
        let (x, dy) = (&x[n * image..][..image], &dy[n * out..][..out]);
        isa.dispatch(BackwardImage { sizes, x, dy, dx });
    });
}

struct BackwardImage<'a> {
    sizes: Sizes,
    x: &'a [f32],
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
            ..
        } = self.sizes;
        let mut best = vec![0.0f32; channels];
        let mut chosen = vec![0u32; channels];
        for (pixel, dy) in self.dy.chunks_exact(channels).enumerate() {
            let [rows, columns] = self.sizes.window([pixel / output[1], pixel % output[1]]);
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
