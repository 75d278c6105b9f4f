//! The convolution of [`crate::cpu::conv`] applies the norm and the ReLU while it copies its input.

use super::{Composite, Grads};
use crate::cpu::after::After;
use crate::cpu::conv::{self, ConvShape};
use crate::cpu::pixels::{Pixels, PixelsMut};
use crate::cpu::{Isa, Precision, memory};
use crate::ops::batch_norm::{self, Folded};
use crate::ops::conv2d::packed_weight;
use crate::tensor::Tensor;

/// `y = conv(max(0, scale x + shift), w)`
pub(crate) fn forward(
    isa: Isa,
    shape: &ConvShape,
    x: Pixels,
    folded: &Folded,
    weight: &Tensor,
    precision: Precision,
    y: PixelsMut,
) {
    let packed = packed_weight(isa, shape, precision, weight);
    conv::forward(
        isa,
        shape,
        x,
        Some(folded.affine()),
        &packed,
        After::Nothing,
        y,
    );
}

/// `dw`, then `dz` where `z > 0`, then the gradients of batch norm. Its gradient with respect to `x` is added to `dx`.
pub(crate) fn backward(isa: Isa, op: &Composite, dy: Pixels, dx: PixelsMut) -> Grads {
    let (shape, folded) = (&op.shape, op.folded);
    let mut dw = memory::unset(op.weight.len());
    conv::grad_weight(isa, shape, op.x, Some(folded.affine()), dy, &mut dw);

    let mut dz = memory::unset(shape.pixels() * shape.channels);
    let out = PixelsMut {
        data: &mut dz,
        stride: shape.channels,
    };
    conv::grad_input(isa, shape, dy, op.weight, out);

    let dz_pixels = Pixels {
        data: &dz,
        stride: shape.channels,
    };
    let [dgamma, dbeta] = batch_norm::cpu::grads(
        isa,
        [op.x, dz_pixels],
        folded,
        true,
        shape.pixels(),
        Some(dx),
    );
    memory::recycle(dz);
    Grads {
        gamma: dgamma,
        beta: dbeta,
        weight: dw,
    }
}
