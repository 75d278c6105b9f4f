//! Convolution, batch norm and ReLU as one operation: the first layers of DenseNet.
//!
//! ```text
//! y = max(0, scale conv(x, w) + shift)
//! ```
//!
//! where `scale` and `shift` are the folded batch norm. With running statistics they are known before the convolution. Then
//! the kernel applies them and the ReLU to its sums before it writes them. With the statistics of the mini-batch, or where
//! a gradient is wanted, the convolution comes first. A second pass over its result applies the other two, and the gradient
//! is recorded on the tape as that of two operations: [`conv2d`](mod@crate::ops::conv2d), then
//! [`batch_norm`](mod@crate::ops::batch_norm) with a ReLU.

mod cpu;
mod gpu;
mod naive;

use crate::cpu::{Precision, profile};
use crate::error::Result;
use crate::ops::batch_norm::{Folded, Moments, Norm, normalise};
use crate::ops::conv2d::{Window, conv_shape, conv2d, precision};
use crate::sizes::ConvShape;
use crate::tensor::Place;
use crate::tensor::Tensor;

/// The inputs of the fused pass, which keeps nothing for a gradient, and their sizes.
struct Job<'a> {
    /// `[N, H, W, C]`
    x: &'a Tensor,
    /// `[O, C, kh, kw]`
    weight: &'a Tensor,
    /// Over `O` channels.
    folded: Folded,
    shape: ConvShape,
    precision: Precision,
}

/// `relu(batch_norm(conv(x)))` of `x` `[N, H, W, C]` and `weight` `[O, C, kh, kw]`: `[N, OH, OW, O]`. In training it also
/// returns the moments of the mini-batch, for the running statistics.
///
/// ```
/// use glimpse::{ops::{conv_norm_relu, Norm, Statistics, Window}, tensor::Tensor};
/// let x = Tensor::from_vec(vec![1.0, 3.0], &[1, 1, 2, 1])?;
/// let (one, two) = (Tensor::full(&[1], 1.0), Tensor::full(&[1], 2.0));
/// let statistics = Statistics::Running { mean: &two, var: &one };
/// let norm = Norm { gamma: &one, beta: &one, eps: 0.0, statistics };
/// let weight = Tensor::full(&[1, 1, 1, 1], -1.0);
/// let (y, _) = conv_norm_relu(&x, &weight, Window::square(1, 0), &norm)?;
/// assert_eq!(y.data(), &[0.0, 0.0]);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// The errors of [`conv2d()`] and [`batch_norm()`](crate::ops::batch_norm()).
pub fn conv_norm_relu(
    x: &Tensor,
    weight: &Tensor,
    window: Window,
    norm: &Norm,
) -> Result<(Tensor, Option<Moments>)> {
    let _timer = profile::time("conv_norm_relu", x.shape());
    let shape = conv_shape("conv_norm_relu", x, weight, window)?;
    norm.check("conv_norm_relu", shape.out_channels)?;
    let inputs = [x, weight, norm.gamma, norm.beta];
    let place = norm.place(&[x, weight]);
    let folded = match inputs.iter().any(|t| t.is_tracked()) {
        true => None,
        false => norm.running(&place)?,
    };
    let Some(folded) = folded else {
        return normalise(&conv2d(x, weight, None, window)?, norm, true);
    };
    let job = Job {
        x,
        weight,
        folded,
        shape,
        precision: precision(&inputs),
    };
    let y = match &place {
        Place::Naive => naive::forward(&job),
        Place::Cpu(isa) => cpu::forward(*isa, &job),
        Place::Gpu(gpu) => gpu::forward(gpu, &job)?,
    };
    Ok((y, None))
}

#[cfg(test)]
mod tests;
