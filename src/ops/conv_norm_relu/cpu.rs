//! The convolution of [`crate::cpu::conv`] applies the norm and the ReLU to its sums before it writes them.

use super::Job;
use crate::cpu::after::After;
use crate::cpu::conv;
use crate::cpu::pixels::{Pixels, PixelsMut};
use crate::cpu::{Isa, memory};
use crate::ops::conv2d::packed_weight;
use crate::tensor::Tensor;

/// `y = max(0, scale conv(x, w) + shift)`
pub(super) fn forward(isa: Isa, job: &Job) -> Tensor {
    let shape = &job.shape;
    let packed = packed_weight(isa, shape, job.precision, job.weight);
    let x = Pixels::new(job.x.data(), shape.channels);
    let after = After::AffineRelu(job.folded.affine());
    let mut y = memory::unset(shape.out_pixels() * shape.out_channels);
    let out = PixelsMut::new(&mut y, shape.out_channels);
    conv::forward(isa, shape, x, None, &packed, after, out);
    Tensor::computed(y, &shape.out_dims())
}
