//! The definition: batch norm, ReLU and convolution, one after the other.

use super::{Composite, Grads};
use crate::cpu::conv::ConvShape;
use crate::cpu::pixels::{Pixels, PixelsMut};
use crate::cpu::{Isa, Precision};
use crate::ops::batch_norm::{self, Folded};
use crate::ops::conv2d::naive::for_each_product;
use crate::ops::relu;
use crate::tensor::Tensor;

/// Copies the channels of a strided map to a contiguous one.
fn contiguous(x: Pixels, rows: usize, channels: usize) -> Vec<f32> {
    (0..rows)
        .flat_map(|i| x.data[i * x.stride..][..channels].iter().copied())
        .collect()
}

/// `z = max(0, scale x + shift)`
fn activated(shape: &ConvShape, x: Pixels, folded: &Folded) -> Tensor {
    let z = batch_norm::naive::affine(x, folded, true, shape.pixels());
    Tensor::computed(z, &[shape.pixels() * shape.channels])
}

/// `y = conv(z, w)`
pub(crate) fn forward(
    _: Isa,
    shape: &ConvShape,
    x: Pixels,
    folded: &Folded,
    weight: &Tensor,
    precision: Precision,
    y: PixelsMut,
) {
    let z = activated(shape, x, folded);
    let (z, w) = (z.data(), weight.data());
    let out_channels = shape.out_channels;
    let mut sums = vec![0.0f64; shape.out_pixels() * out_channels];
    for_each_product(shape, shape.channels, |yi, zi, wi| {
        sums[yi] += f64::from(precision.round(z[zi])) * f64::from(precision.round(w[wi]));
    });
    for (i, sum) in sums.iter().enumerate() {
        y.data[i / out_channels * y.stride + i % out_channels] = *sum as f32;
    }
}

/// `dw`, then `dz` where `z > 0`, then the gradients of batch norm. Its gradient with respect to `x` is added to `dx`.
pub(crate) fn backward(_: Isa, op: &Composite, dy: Pixels, dx: PixelsMut) -> Grads {
    let shape = &op.shape;
    let z = activated(shape, op.x, op.folded);
    let dy = contiguous(dy, shape.out_pixels(), shape.out_channels);
    let (mut dz, mut dw) = (Tensor::zeros(z.dims()), vec![0.0f64; op.weight.len()]);
    let (z_data, dz_data) = (z.data(), dz.data_mut());
    for_each_product(shape, shape.channels, |yi, zi, wi| {
        dz_data[zi] += dy[yi] * op.weight[wi];
        dw[wi] += f64::from(dy[yi]) * f64::from(z_data[zi]);
    });
    let dz = relu::naive::backward(&z, &dz);
    let dz_pixels = Pixels {
        data: dz.data(),
        stride: shape.channels,
    };
    let [dgamma, dbeta] = batch_norm::naive::grads(
        [op.x, dz_pixels],
        op.folded,
        false,
        shape.pixels(),
        Some(dx),
    );
    Grads {
        gamma: dgamma,
        beta: dbeta,
        weight: dw.into_iter().map(|w| w as f32).collect(),
    }
}
