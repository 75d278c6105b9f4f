//! SIMD kernels along the channels of a pixel. Each task takes one image.

use crate::cpu::pixels::Pixels;
use crate::cpu::rows::sum_rows;
use crate::cpu::{Isa, threads};

/// `y = sum of x / pixels`
pub(crate) fn forward(isa: Isa, pixels: usize, channels: usize, x: &[f32], y: &mut [f32]) {
    let image = pixels * channels;
    threads::for_each_chunk(y, channels, |n, y| {
        let x = Pixels {
            data: &x[n * image..][..image],
            stride: channels,
        };
        let sum = sum_rows(isa, x, pixels, channels);
        y.iter_mut()
            .zip(sum)
            .for_each(|(y, sum)| *y = sum / pixels as f32);
    });
}

/// `dx = dy / pixels`
pub(crate) fn backward(_: Isa, pixels: usize, channels: usize, dy: &[f32], dx: &mut [f32]) {
    threads::for_each_chunk(dx, pixels * channels, |n, dx| {
        let dy = &dy[n * channels..][..channels];
        let dpixel: Vec<f32> = dy.iter().map(|dy| dy / pixels as f32).collect();
        dx.chunks_exact_mut(channels)
            .for_each(|dx| dx.copy_from_slice(&dpixel));
    });
}
