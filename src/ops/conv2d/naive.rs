//! The definition as plain loops.

use super::{Grads, Wanted};
use crate::cpu::conv::ConvShape;
use crate::cpu::pixels::Pixels;
use crate::cpu::{Isa, Precision};
use crate::tensor::Tensor;

/// Calls `body` for every product of the definition, with the indices of its elements in the output, input and weight.
pub(crate) fn for_each_product(
    shape: &ConvShape,
    stride: usize,
    mut body: impl FnMut(usize, usize, usize),
) {
    let (out_height, out_width) = (shape.out_height(), shape.out_width());
    let [kh, kw] = shape.kernel;
    for n in 0..shape.batch {
        for i in 0..out_height {
            for j in 0..out_width {
                for ky in 0..kh {
                    for kx in 0..kw {
                        let u = (i * shape.stride[0] + ky).wrapping_sub(shape.padding[0]);
                        let v = (j * shape.stride[1] + kx).wrapping_sub(shape.padding[1]);
                        if u >= shape.height || v >= shape.width {
                            continue;
                        }
                        let x = ((n * shape.height + u) * shape.width + v) * stride;
                        let y = ((n * out_height + i) * out_width + j) * shape.out_channels;
                        for o in 0..shape.out_channels {
                            for c in 0..shape.channels {
                                body(y + o, x + c, ((o * shape.channels + c) * kh + ky) * kw + kx);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// `y = b + sum x w`
pub(crate) fn forward(
    _: Isa,
    shape: &ConvShape,
    x: Pixels,
    weight: &Tensor,
    bias: Option<&[f32]>,
    precision: Precision,
) -> Vec<f32> {
    let mut y = vec![0.0f64; shape.out_pixels() * shape.out_channels];
    let w = weight.data();
    for_each_product(shape, x.stride, |yi, xi, wi| {
        y[yi] += f64::from(precision.round(x.data[xi])) * f64::from(precision.round(w[wi]));
    });
    if let Some(bias) = bias {
        for (i, y) in y.iter_mut().enumerate() {
            *y += f64::from(bias[i % shape.out_channels]);
        }
    }
    y.into_iter().map(|y| y as f32).collect()
}

/// `dx = sum dy w`, `dw = sum dy x`, `db = sum dy`
pub(crate) fn backward(
    _: Isa,
    shape: &ConvShape,
    x: Pixels,
    weight: &[f32],
    dy: &[f32],
    wanted: Wanted,
) -> Grads {
    let mut dx = vec![0.0f64; shape.pixels() * shape.channels];
    let mut dw = vec![0.0f64; weight.len()];
    let mut db = vec![0.0f64; shape.out_channels];
    for_each_product(shape, x.stride, |yi, xi, wi| {
        // The input's pixels may be `x.stride` elements apart, those of its gradient are contiguous.
        let dense = xi / x.stride * shape.channels + xi % x.stride;
        dx[dense] += f64::from(dy[yi]) * f64::from(weight[wi]);
        dw[wi] += f64::from(dy[yi]) * f64::from(x.data[xi]);
    });
    if wanted.bias {
        for (i, &dy) in dy.iter().enumerate() {
            db[i % shape.out_channels] += f64::from(dy);
        }
    }
    let to_f32 = |v: Vec<f64>| v.into_iter().map(|x| x as f32).collect::<Vec<f32>>();
    Grads {
        x: wanted.x.then(|| to_f32(dx)),
        weight: wanted.weight.then(|| to_f32(dw)),
        bias: wanted.bias.then(|| to_f32(db)),
    }
}
