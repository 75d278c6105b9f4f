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

mod gpu;

use crate::cpu::after::After;
use crate::cpu::conv;
use crate::cpu::pixels::{Pixels, PixelsMut};
use crate::cpu::{Isa, Precision, memory, profile};
use crate::error::Result;
use crate::ops::batch_norm::{Moments, Norm, normalise};
use crate::ops::conv2d::{Window, conv_shape, conv2d, packed_weight};
use crate::tensor::{Place, Tensor};

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
/// Those of [`conv2d()`] and [`batch_norm()`](crate::ops::batch_norm()).
pub fn conv_norm_relu(
    x: &Tensor,
    weight: &Tensor,
    window: Window,
    norm: &Norm,
) -> Result<(Tensor, Option<Moments>)> {
    let _timer = profile::time("conv_norm_relu", x.shape());
    let shape = conv_shape("conv_norm_relu", x, weight, window)?;
    norm.check("conv_norm_relu", shape.out_channels)?;
    let isa = Isa::current();
    let tracked = [x, weight, norm.gamma, norm.beta]
        .iter()
        .any(|t| t.is_tracked());
    let place = norm.place(&[x, weight]);
    let running = norm.running(&place)?;
    if let Place::Gpu(gpu) = place {
        return match running {
            Some(folded) if !tracked => {
                let folded = folded.on(&gpu)?;
                Ok((gpu::forward(&gpu, &shape, x, weight, &folded)?, None))
            }
            _ => normalise(&conv2d(x, weight, None, window)?, norm, true),
        };
    }
    let folded = match running {
        Some(folded) if !tracked && !isa.is_naive() => folded,
        _ => {
            return normalise(&conv2d(x, weight, None, window)?, norm, true);
        }
    };
    let out_channels = shape.out_channels;
    let mut y = memory::unset(shape.out_pixels() * out_channels);
    let packed = packed_weight(isa, &shape, Precision::current(), weight);
    let pixels = Pixels {
        data: x.data(),
        stride: shape.channels,
    };
    let out = PixelsMut {
        data: &mut y,
        stride: out_channels,
    };
    let after = After::AffineRelu(folded.affine());
    conv::forward(isa, &shape, pixels, None, &packed, after, out);
    let dims = [
        shape.batch,
        shape.out_height(),
        shape.out_width(),
        out_channels,
    ];
    Ok((Tensor::computed(y, &dims), None))
}

#[cfg(test)]
mod tests;
