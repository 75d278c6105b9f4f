//! SIMD kernels along the channels. Each task takes one row of the output, or of `dz` in the backward pass.

use super::Sizes;
use crate::cpu::after::ScaleShiftRelu;
use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, threads};

/// `y = 1/s^2 sum of max(0, scale x + shift)`
pub(super) fn forward(isa: Isa, sizes: Sizes, x: &[f32], norm: ScaleShiftRelu, y: &mut [f32]) {
    let ([height, width], [out_height, out_width]) = (sizes.input, sizes.output());
    threads::for_each_chunk(y, out_width * sizes.channels, |row, y| {
        let (image, p) = (row / out_height, row % out_height);
        let first = (image * height + p * sizes.window) * width * sizes.channels;
        let x = &x[first..first + sizes.window * width * sizes.channels];
        isa.dispatch(ForwardRow { sizes, x, norm, y });
    });
}

/// Computes one row of the output from the rows of the input under its windows.
struct ForwardRow<'a> {
    sizes: Sizes,
    x: &'a [f32],
    norm: ScaleShiftRelu<'a>,
    y: &'a mut [f32],
}

impl WithSimd for ForwardRow<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Sizes {
            input: [_, width],
            channels,
            window,
            ..
        } = self.sizes;
        let factor = 1.0 / (window * window) as f32;
        let whole = channels - channels % S::LANES;
        for (q, y) in self.y.chunks_exact_mut(channels).enumerate() {
            for c in (0..whole).step_by(S::LANES) {
                let (scale, shift) = (s.load(&self.norm.scale[c..]), s.load(&self.norm.shift[c..]));
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
                    sum += self.norm.apply_one(x, c);
                }
                *y = sum * factor;
            }
        }
    }
}

/// `dz = dy / s^2` under each window; `dz` starts as zeros.
pub(super) fn spread(isa: Isa, sizes: Sizes, dy: &[f32], dz: &mut [f32]) {
    let ([height, width], [out_height, out_width]) = (sizes.input, sizes.output());
    let row = out_width * sizes.channels;
    threads::for_each_chunk(dz, width * sizes.channels, |i, dz| {
        let (image, p) = (i / height, i % height / sizes.window);
        if p < out_height {
            let dy = &dy[(image * out_height + p) * row..][..row];
            isa.dispatch(SpreadRow { sizes, dy, dz });
        }
    });
}

/// Computes one row of `dz` from the row of `dy` whose windows cover it.
struct SpreadRow<'a> {
    sizes: Sizes,
    dy: &'a [f32],
    dz: &'a mut [f32],
}

impl WithSimd for SpreadRow<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Sizes {
            channels, window, ..
        } = self.sizes;
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
