//! The SIMD loops over rows of [`crate::cpu::rows`].

use super::{Grads, Variant};
use crate::cpu::pixels::{Pixels, PixelsMut};
pub(crate) use crate::cpu::rows::moments;
use crate::cpu::rows::{self, Normalizer};
use crate::cpu::{Isa, memory};

/// `y = scale x + shift`, or `y = max(0, scale x + shift)` with `relu`.
pub(crate) fn forward(isa: Isa, x: &[f32], norm: &Normalizer, relu: bool) -> Vec<f32> {
    let stride = norm.scale.len();
    let mut y = memory::unset(x.len());
    let out = PixelsMut {
        data: &mut y,
        stride,
    };
    let x = Pixels { data: x, stride };
    rows::scale_shift(
        isa,
        x,
        norm.affine(),
        relu,
        x.data.len() / stride.max(1),
        out,
    );
    y
}

/// `dbeta = sum dy`, `dgamma = sum dy xhat`, `dx = scale (dy - dbeta / M - xhat dgamma / M)`. With
/// running statistics `dx = scale dy`. With ReLU, `dy` is 0 where `y` is.
pub(crate) fn backward(
    isa: Isa,
    x: &[f32],
    dy: &[f32],
    norm: &Normalizer,
    Variant { batch, relu }: Variant,
) -> Grads {
    let stride = norm.scale.len();
    let n = x.len() / stride.max(1);
    let (x, dy) = (Pixels { data: x, stride }, Pixels { data: dy, stride });
    let (dbeta, dgamma) = rows::norm_grad_sums(isa, x, dy, norm.state(relu), n);
    let mut dx = memory::zeros(x.data.len());
    let sums = batch.then_some((&dbeta[..], &dgamma[..]));
    let out = PixelsMut {
        data: &mut dx,
        stride,
    };
    rows::norm_grad_input(isa, x, dy, norm.state(relu), sums, n, out);
    Grads {
        x: dx,
        gamma: dgamma,
        beta: dbeta,
    }
}
