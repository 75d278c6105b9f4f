//! The implicit matrix product of [`crate::cpu::conv`].

use super::{Grads, Wanted, packed_weight};
use crate::cpu::conv::{self, ConvShape};
use crate::cpu::pixels::{Pixels, PixelsMut};
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
    let stride = shape.out_channels;
    let mut y = memory::unset(shape.out_pixels() * stride);
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
            stride,
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
    dy: &[f32],
    wanted: Wanted,
) -> Grads {
    let dy = Pixels {
        data: dy,
        stride: shape.out_channels,
    };
    let dx = wanted.x.then(|| {
        let mut dx = memory::unset(shape.pixels() * shape.channels);
        let out = PixelsMut {
            data: &mut dx,
            stride: shape.channels,
        };
        conv::grad_input(isa, shape, dy, weight, out);
        dx
    });
    let dw = wanted.weight.then(|| {
        let mut dw = memory::unset(weight.len());
        conv::grad_weight(isa, shape, x, None, dy, &mut dw);
        dw
    });
    let sum = || rows::sum_rows(isa, dy, shape.out_pixels(), shape.out_channels);
    let db = wanted.bias.then(sum);
    Grads {
        x: dx,
        weight: dw,
        bias: db,
    }
}
