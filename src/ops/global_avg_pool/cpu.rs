//! SIMD kernels along the channels of a pixel. Each task takes one image.

use super::Job;
use crate::cpu::pixels::Pixels;
use crate::cpu::rows::sum_rows;
use crate::cpu::{Isa, memory, threads};
use crate::tensor::Tensor;

/// `y[n][c] = 1/(H W) sum_{i, j} x[n][i][j][c]`
pub(crate) fn forward(isa: Isa, job: &Job, x: &Tensor) -> Tensor {
    let (x, pixels, channels) = (x.data(), job.pixels(), job.channels);
    let image = pixels * channels;
    let mut y = vec![0.0; job.batch * channels];
    threads::for_each_chunk(&mut y, channels, |n, y| {
        let x = Pixels::new(&x[n * image..][..image], channels);
        let sum = sum_rows(isa, x, pixels, channels);
        y.iter_mut()
            .zip(sum)
            .for_each(|(y, sum)| *y = sum / pixels as f32);
    });
    Tensor::computed(y, &job.out_dims())
}

/// `dx[n][i][j][c] = dy[n][c] / (H W)`
pub(crate) fn backward(_: Isa, job: &Job, dy: &Tensor) -> Tensor {
    let (dy, pixels, channels) = (dy.data(), job.pixels(), job.channels);
    let mut dx = memory::unset(job.batch * pixels * channels);
    threads::for_each_chunk(&mut dx, pixels * channels, |n, dx| {
        let dy = &dy[n * channels..][..channels];
        let dpixel: Vec<f32> = dy.iter().map(|dy| dy / pixels as f32).collect();
        dx.chunks_exact_mut(channels)
            .for_each(|dx| dx.copy_from_slice(&dpixel));
    });
    Tensor::computed(dx, &job.in_dims())
}
