//! The definition: batch norm, ReLU and convolution, one after the other.

use super::{Composite, Grads};
use crate::cpu::pixels::{Pixels, PixelsMut};
use crate::cpu::rows::Normalizer;
use crate::cpu::{Isa, Precision};
use crate::ops::batch_norm;
use crate::ops::conv2d::naive::{convolve, gradients};
use crate::ops::relu;
use crate::sizes::ConvShape;
use crate::tensor::Tensor;

/// Copies the channels of a strided map to a contiguous one.
fn contiguous(x: Pixels, rows: usize, channels: usize) -> Vec<f32> {
    (0..rows)
        .flat_map(|i| x.data[i * x.stride..][..channels].iter().copied())
        .collect()
}

/// `z = max(0, scale x + shift)`
fn activated(isa: Isa, shape: &ConvShape, x: Pixels, norm: &Normalizer) -> Tensor {
    let x = contiguous(x, shape.pixels(), shape.channels);
    let normalised = batch_norm::naive::forward(isa, &x, norm, false);
    relu::naive::forward(&Tensor::computed(normalised, &[x.len()]))
}

/// `y = conv(z, w)`
pub(crate) fn forward(
    isa: Isa,
    shape: &ConvShape,
    x: Pixels,
    norm: &Normalizer,
    weight: &Tensor,
    precision: Precision,
    y: PixelsMut,
) {
    let z = activated(isa, shape, x, norm);
    let out_channels = shape.out_channels;
    let sums = convolve(shape, z.data(), weight.data(), precision);
    for (i, sum) in sums.iter().enumerate() {
        y.data[i / out_channels * y.stride + i % out_channels] = *sum as f32;
    }
}

/// `dw`, then `dz` where `z > 0`, then the gradients of batch norm. Its gradient with respect to `x` is added to `dx`.
pub(crate) fn backward(isa: Isa, op: &Composite, dy: Pixels, dx: PixelsMut) -> Grads {
    let shape = &op.shape;
    let z = activated(isa, shape, op.x, op.normalizer);
    let dy = contiguous(dy, shape.out_pixels(), shape.out_channels);
    let [dz, dw] = gradients(shape, z.data(), op.weight, &dy);
    let dz = relu::naive::backward(&z, &Tensor::computed(dz, z.dims()));
    let x = contiguous(op.x, shape.pixels(), shape.channels);
    let variant = batch_norm::Variant {
        batch: op.batch,
        relu: false,
    };
    let norm = batch_norm::naive::backward(isa, &x, dz.data(), op.normalizer, variant);
    for (i, added) in norm.x.iter().enumerate() {
        dx.data[i / shape.channels * dx.stride + i % shape.channels] += added;
    }
    Grads {
        gamma: norm.gamma,
        beta: norm.beta,
        weight: dw,
    }
}
