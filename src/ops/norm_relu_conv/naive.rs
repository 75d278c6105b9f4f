//! The definition: the three operations it consists of, one after the other.

use super::{Composite, Grads};
use crate::cpu::conv::{ConvShape, Pixels, PixelsMut};
use crate::cpu::rows::Normalizer;
use crate::cpu::{Isa, Precision};
use crate::ops::batch_norm;
use crate::ops::conv2d::naive::for_each_product;
use crate::ops::relu;
use crate::tensor::Tensor;

/// The channels of a strided map, densely.
fn dense(x: Pixels, rows: usize, channels: usize) -> Vec<f32> {
    (0..rows)
        .flat_map(|i| x.data[i * x.stride..][..channels].iter().copied())
        .collect()
}

/// `z = max(0, scale x + shift)`
fn activated(isa: Isa, shape: &ConvShape, x: Pixels, f: &Normalizer) -> Vec<f32> {
    let x = dense(x, shape.pixels(), shape.channels);
    relu::naive::forward(isa, &batch_norm::naive::forward(isa, &x, f, false))
}

/// `y = conv(z, w)`
pub(crate) fn forward(
    isa: Isa,
    shape: &ConvShape,
    x: Pixels,
    f: &Normalizer,
    weight: &Tensor,
    precision: Precision,
    y: PixelsMut,
) {
    let (z, w, o) = (
        activated(isa, shape, x, f),
        weight.data(),
        shape.out_channels,
    );
    let mut sums = vec![0.0f64; shape.out_pixels() * o];
    for_each_product(shape, shape.channels, |yi, zi, wi| {
        sums[yi] += f64::from(precision.round(z[zi])) * f64::from(precision.round(w[wi]));
    });
    for (i, sum) in sums.iter().enumerate() {
        y.data[i / o * y.stride + i % o] = *sum as f32;
    }
}

/// `dw`, then `dz` where `z > 0`, then through batch norm; `dx` is added to `grad_x`.
pub(crate) fn backward(isa: Isa, op: &Composite, grad: Pixels, grad_x: PixelsMut) -> Grads {
    let shape = &op.shape;
    let z = activated(isa, shape, op.x, op.normalizer);
    let grad = dense(grad, shape.out_pixels(), shape.out_channels);
    let (mut dz, mut dw) = (vec![0.0f32; z.len()], vec![0.0f64; op.weight.len()]);
    for_each_product(shape, shape.channels, |yi, zi, wi| {
        dz[zi] += grad[yi] * op.weight[wi];
        dw[wi] += f64::from(grad[yi]) * f64::from(z[zi]);
    });
    let dz = relu::naive::backward(isa, &z, &dz);
    let x = dense(op.x, shape.pixels(), shape.channels);
    let norm = batch_norm::naive::backward(isa, &x, &dz, op.normalizer, [op.batch, false]);
    for (i, dx) in norm.x.iter().enumerate() {
        grad_x.data[i / shape.channels * grad_x.stride + i % shape.channels] += dx;
    }
    Grads {
        gamma: norm.gamma,
        beta: norm.beta,
        weight: dw.into_iter().map(|w| w as f32).collect(),
    }
}
