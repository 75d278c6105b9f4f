//! The definition: the convolution as plain loops, then batch norm and ReLU.

use super::Job;
use crate::cpu::pixels::Pixels;
use crate::ops::{batch_norm, conv2d};
use crate::tensor::Tensor;

/// `y = max(0, scale conv(x, w) + shift)`
pub(super) fn forward(job: &Job) -> Tensor {
    let (shape, x, weight) = (&job.shape, job.x.data(), job.weight.data());
    let sums = conv2d::naive::convolve(shape, x, weight, job.precision);
    let sums: Vec<f32> = sums.into_iter().map(|sum| sum as f32).collect();
    let pixels = Pixels::new(&sums, shape.out_channels);
    let y = batch_norm::naive::affine(pixels, &job.folded, true, shape.out_pixels());
    Tensor::computed(y, &shape.out_dims())
}
