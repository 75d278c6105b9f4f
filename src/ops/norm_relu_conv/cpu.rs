//! Normalisation and ReLU happen while the convolution copies its input.

use super::{Composite, Grads};
use crate::cpu::after::After;
use crate::cpu::conv::{self, ConvShape, Pixels, PixelsMut};
use crate::cpu::rows::{self, Normalizer};
use crate::cpu::{Isa, Precision, memory};
use crate::ops::conv2d::packed_weight;
use crate::tensor::Tensor;

/// `y = conv(max(0, scale x + shift), w)`
pub(crate) fn forward(
    isa: Isa,
    shape: &ConvShape,
    x: Pixels,
    f: &Normalizer,
    weight: &Tensor,
    precision: Precision,
    y: PixelsMut,
) {
    let packed = packed_weight(isa, shape, precision, weight);
    conv::forward(isa, shape, x, Some(f.affine()), &packed, After::Nothing, y);
}

/// `dw`, then `dz` where `z > 0`, then through batch norm; `dx` is added to `grad_x`.
pub(crate) fn backward(isa: Isa, op: &Composite, grad: Pixels, grad_x: PixelsMut) -> Grads {
    let (shape, f) = (&op.shape, op.normalizer);
    let mut weight = memory::unset(op.weight.len());
    conv::grad_weight(isa, shape, op.x, Some(f.affine()), grad, &mut weight);

    let mut dz = memory::unset(shape.pixels() * shape.channels);
    let out = PixelsMut {
        data: &mut dz,
        stride: shape.channels,
    };
    conv::grad_input(isa, shape, grad, op.weight, out);

    let pixels = Pixels {
        data: &dz,
        stride: shape.channels,
    };
    let (beta, gamma) = rows::norm_grad_sums(isa, op.x, pixels, f.state(true), shape.pixels());
    let sums = op.batch.then_some((&beta[..], &gamma[..]));
    rows::norm_grad_input(
        isa,
        op.x,
        pixels,
        f.state(true),
        sums,
        shape.pixels(),
        grad_x,
    );
    memory::recycle(dz);
    Grads {
        gamma,
        beta,
        weight,
    }
}
