//! DenseNet's composite function: batch norm, ReLU, convolution (Huang et al., 2017, arXiv 1608.06993), as one
//! operation.
//!
//! ```text
//! z = max(0, scale x + shift)        y = conv(z, w)
//! ```
//!
//! where `scale` and `shift` are the folded batch norm. `z` is never stored. It is computed while the convolution copies
//! its input into cache, in the forward pass and again in the backward pass, which therefore needs only `x` (Pleiss et al.,
//! 2017, arXiv 1707.06990). The chain rule passes the three gradients in reverse order. First those of the convolution and
//! of the ReLU:
//!
//! ```text
//! dw = conv_grad_weight(z, dy)        dz = conv_grad_input(dy, w) where z > 0, else 0
//! ```
//!
//! Then `dz` is the gradient with respect to the output of batch norm, whose
//! [module](mod@crate::ops::batch_norm) derives `dx`, `dgamma` and `dbeta` from it.

pub(crate) mod cpu;
pub(crate) mod gpu;
pub(crate) mod naive;

use crate::cpu::{Precision, profile};
use crate::error::Result;
use crate::ops::batch_norm::{Moments, Norm};
use crate::ops::conv2d::{Window, conv_shape, precision};
use crate::sizes::ConvShape;
use crate::tensor::{Place, Tensor};

// The inputs, as the tape numbers them.
const X: usize = 0;
const GAMMA: usize = 1;
const BETA: usize = 2;
const WEIGHT: usize = 3;

/// The inputs, whose shapes fit, and their sizes.
pub(crate) struct Job {
    /// `[N, H, W, C]`
    pub(crate) x: Tensor,
    /// `[O, C, kh, kw]`
    pub(crate) weight: Tensor,
    pub(crate) shape: ConvShape,
    pub(crate) precision: Precision,
}

impl Job {
    /// Checks that the shapes fit, and keeps the inputs for the backward pass.
    fn check(x: &Tensor, norm: &Norm, weight: &Tensor, window: Window) -> Result<Job> {
        let shape = conv_shape("norm_relu_conv", x, weight, window)?;
        norm.check("norm_relu_conv", shape.channels)?;
        Ok(Job {
            precision: precision(&[x, norm.gamma, norm.beta, weight]),
            x: x.clone(),
            weight: weight.clone(),
            shape,
        })
    }
}

/// `conv(relu(batch_norm(x)))` of `x` `[N, H, W, C]` and `weight` `[O, C, kh, kw]`: `[N, OH, OW, O]`. In training it also
/// returns the moments of the mini-batch, for the running statistics.
///
/// ```
/// use glimpse::{ops::{norm_relu_conv, Norm, Statistics, Window}, tensor::Tensor};
/// let x = Tensor::from_vec(vec![1.0, 3.0], &[1, 1, 2, 1])?;
/// let (one, zero) = (Tensor::full(&[1], 1.0), Tensor::zeros(&[1]));
/// let norm = Norm { gamma: &one, beta: &zero, eps: 0.0, statistics: Statistics::Batch };
/// let weight = Tensor::full(&[1, 1, 1, 1], 5.0);
/// let (y, _) = norm_relu_conv(&x, &norm, &weight, Window::square(1, 0))?;
/// assert_eq!(y.data(), &[0.0, 5.0]);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// The errors of [`conv2d`](crate::ops::conv2d()) and [`batch_norm`](crate::ops::batch_norm()).
pub fn norm_relu_conv(
    x: &Tensor,
    norm: &Norm,
    weight: &Tensor,
    window: Window,
) -> Result<(Tensor, Option<Moments>)> {
    let _timer = profile::time("norm_relu_conv", x.shape());
    let job = Job::check(x, norm, weight, window)?;
    let place = norm.place(&[x, weight]);
    let (y, folded, moments) = match &place {
        Place::Naive => naive::forward(&job, norm),
        Place::Cpu(isa) => cpu::forward(*isa, &job, norm),
        Place::Gpu(gpu) => gpu::forward(gpu, &job, norm)?,
    };
    let inputs = [x, norm.gamma, norm.beta, weight];
    let y = y.record(&inputs, move |dy, wanted| match &place {
        Place::Naive => Ok(naive::backward(&job, &folded, dy, wanted)),
        Place::Cpu(isa) => Ok(cpu::backward(*isa, &job, &folded, dy, wanted)),
        Place::Gpu(gpu) => gpu::backward(gpu, &job, &folded, dy, wanted),
    })?;
    Ok((y, moments))
}

#[cfg(test)]
mod tests;
