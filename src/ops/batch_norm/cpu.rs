//! By the row loops of [`crate::cpu::rows`].

use super::Grads;
use crate::cpu::conv::{Pixels, PixelsMut};
pub(crate) use crate::cpu::rows::moments;
use crate::cpu::rows::{self, Normalizer};
use crate::cpu::{Isa, memory};

/// `y = x scale + shift`; with `relu`, the larger of that and zero.
pub(crate) fn forward(isa: Isa, x: &[f32], f: &Normalizer, relu: bool) -> Vec<f32> {
    let stride = f.scale.len();
    let mut y = memory::unset(x.len());
    let out = PixelsMut {
        data: &mut y,
        stride,
    };
    let x = Pixels { data: x, stride };
    rows::scale_shift(isa, x, f.affine(), relu, x.data.len() / stride.max(1), out);
    y
}

/// `dbeta = sum dy`, `dgamma = sum dy xhat`, `dx = scale (dy - dbeta / M - xhat dgamma / M)`; with running
/// statistics (`batch` is false) `dx = scale dy`. With `relu`, `dy` counts where `y` is positive.
pub(crate) fn backward(
    isa: Isa,
    x: &[f32],
    grad: &[f32],
    f: &Normalizer,
    [batch, relu]: [bool; 2],
) -> Grads {
    let stride = f.scale.len();
    let n = x.len() / stride.max(1);
    let (x, grad) = (Pixels { data: x, stride }, Pixels { data: grad, stride });
    let (beta, gamma) = rows::norm_grad_sums(isa, x, grad, f.state(relu), n);
    let mut grad_x = memory::zeros(x.data.len());
    let sums = batch.then_some((&beta[..], &gamma[..]));
    let out = PixelsMut {
        data: &mut grad_x,
        stride,
    };
    rows::norm_grad_input(isa, x, grad, f.state(relu), sums, n, out);
    Grads {
        x: grad_x,
        gamma,
        beta,
    }
}
