//! By the implicit matrix product of [`crate::cpu::conv`].

use super::{Grads, Wanted, packed_weight};
use crate::cpu::conv::{self, ConvShape, Pixels, PixelsMut};
use crate::cpu::{Isa, Precision, memory, rows};
use crate::tensor::Tensor;

/// `y = b + sum x w`
pub(crate) fn forward(
    isa: Isa,
    shape: &ConvShape,
    x: Pixels,
    weight: &Tensor,
    bias: Option<&[f32]>,
    precision: Precision,
) -> Vec<f32> {
    let o = shape.out_channels;
    let mut y = memory::unset(shape.out_pixels() * o);
    let packed = packed_weight(isa, shape, precision, weight);
    conv::forward(
        isa,
        shape,
        x,
        None,
        &packed,
        bias.into(),
        PixelsMut {
            data: &mut y,
            stride: o,
        },
    );
    y
}

/// `dx = sum dy w`, `dw = sum dy x`, `db = sum dy`
pub(crate) fn backward(
    isa: Isa,
    shape: &ConvShape,
    x: Pixels,
    weight: &[f32],
    grad: &[f32],
    wanted: Wanted,
) -> Grads {
    let grad = Pixels {
        data: grad,
        stride: shape.out_channels,
    };
    let grad_x = wanted.x.then(|| {
        let mut grad_x = memory::unset(shape.pixels() * shape.channels);
        let out = PixelsMut {
            data: &mut grad_x,
            stride: shape.channels,
        };
        conv::grad_input(isa, shape, grad, weight, out);
        grad_x
    });
    let grad_weight = wanted.weight.then(|| {
        let mut grad_weight = memory::unset(weight.len());
        conv::grad_weight(isa, shape, x, None, grad, &mut grad_weight);
        grad_weight
    });
    let sum = || rows::sum_rows(isa, grad, shape.out_pixels(), shape.out_channels);
    let bias = wanted.bias.then(sum);
    Grads {
        x: grad_x,
        weight: grad_weight,
        bias,
    }
}
