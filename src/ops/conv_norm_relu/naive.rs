//! The definition: the convolution as plain loops, then the norm and the ReLU of each of its elements.

use super::{FOLDED, Job};
use crate::ops::conv2d::naive::convolve;
use crate::tensor::Tensor;

/// `y = max(0, scale conv(x, w) + shift)`
pub(crate) fn forward(job: &Job) -> Tensor {
    let (shape, folded) = (&job.shape, job.norm.running_normalizer().expect(FOLDED));
    let sums = convolve(shape, job.x.data(), job.weight.data(), job.precision);
    let y = sums.iter().enumerate().map(|(i, &sum)| {
        let o = i % shape.out_channels;
        (sum as f32 * folded.scale[o] + folded.shift[o]).max(0.0)
    });
    Tensor::computed(y.collect(), &shape.out_dims())
}
