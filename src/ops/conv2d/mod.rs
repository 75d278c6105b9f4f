//! Two-dimensional convolution; as usual in deep learning, it is a cross-correlation.
//!
//! ```text
//! y[n, i, j, o] = b[o] + sum over ky, kx, c of  x[n, i s + ky - p, j s + kx - p, c]  w[o, c, ky, kx]
//! ```
//!
//! with stride `s`, padding `p`, and `x = 0` outside the image. The vertical and the horizontal stride may differ, and so
//! may the paddings; the equations write one letter for both. `y` is a sum of products `x w`. The derivative of a product
//! with respect to `x` is `w`, and with respect to `w` it is `x`. So each product adds `dy w` to the gradient with
//! respect to its `x`, and `dy x` to the gradient with respect to its `w`:
//!
//! ```text
//! dx[n, u, v, c]     = sum over o and all (i, j, ky, kx) with i s + ky - p = u, j s + kx - p = v of  dy[n, i, j, o] w[o, c, ky, kx]
//! dw[o, c, ky, kx]   = sum over n, i, j of  dy[n, i, j, o] x[n, i s + ky - p, j s + kx - p, c]
//! db[o]              = sum over n, i, j of  dy[n, i, j, o]
//! ```

mod cpu;
pub(crate) mod gpu;
pub(crate) mod naive;

use std::sync::Arc;

use crate::cpu::conv;
use crate::cpu::packed::PackedB;
use crate::cpu::{Isa, Precision, profile};
use crate::error::{Error, Result};
use crate::sizes::ConvShape;
pub use crate::sizes::Window;
use crate::tensor::{Place, Tensor};

// The inputs, as the tape numbers them.
const X: usize = 0;
const WEIGHT: usize = 1;
const BIAS: usize = 2;

/// The inputs, whose shapes fit, and their sizes.
pub(crate) struct Job {
    /// `[N, H, W, C]`
    x: Tensor,
    /// `[O, C, kh, kw]`
    weight: Tensor,
    /// `[O]`
    bias: Option<Tensor>,
    shape: ConvShape,
    precision: Precision,
}

impl Job {
    /// Checks that the shapes fit, and keeps the inputs for the backward pass.
    fn check(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, window: Window) -> Result<Job> {
        let shape = conv_shape("conv2d", x, weight, window)?;
        if let Some(bias) = bias.filter(|b| b.dims() != [shape.out_channels]) {
            return Err(Error::shape(
                "conv2d",
                format_args!("bias [{}]", shape.out_channels),
                format_args!("bias {}", bias.shape()),
            ));
        }
        let inputs: Vec<&Tensor> = [x, weight].into_iter().chain(bias).collect();
        Ok(Job {
            precision: precision(&inputs),
            x: x.clone(),
            weight: weight.clone(),
            bias: bias.cloned(),
            shape,
        })
    }
}

/// The sizes of `op` on `x` `[N, H, W, C]` with `weight` `[O, C, kh, kw]`. Returns an error where they do not fit.
pub(crate) fn conv_shape(
    op: &'static str,
    x: &Tensor,
    weight: &Tensor,
    window: Window,
) -> Result<ConvShape> {
    let (&[batch, height, width, channels], &[out_channels, in_channels, kh, kw]) =
        (x.dims(), weight.dims())
    else {
        return Err(Error::shape(
            op,
            "x [N, H, W, C] and weight [O, C, kh, kw]",
            format_args!("x {} and weight {}", x.shape(), weight.shape()),
        ));
    };
    if channels != in_channels {
        return Err(Error::shape(
            op,
            format_args!(
                "x with {in_channels} channels for weight {}",
                weight.shape()
            ),
            format_args!("x {}", x.shape()),
        ));
    }
    let Window { stride, padding } = window;
    if stride.contains(&0) || kh == 0 || kw == 0 {
        return Err(Error::value(
            op,
            format_args!("stride {stride:?} and kernel {kh}x{kw} must not be 0"),
        ));
    }
    if height + 2 * padding[0] < kh || width + 2 * padding[1] < kw {
        return Err(Error::shape(
            op,
            format_args!("an image of at least {kh}x{kw} with padding {padding:?}"),
            format_args!("x {}", x.shape()),
        ));
    }
    Ok(ConvShape {
        batch,
        height,
        width,
        channels,
        out_channels,
        kernel: [kh, kw],
        stride,
        padding,
    })
}

/// Precision of the operands: 16 bits only in inference; tracked inputs are multiplied in `f32`.
pub(crate) fn precision(inputs: &[&Tensor]) -> Precision {
    match inputs.iter().any(|t| t.is_tracked()) {
        true => Precision::F32,
        false => Precision::current(),
    }
}

/// `weight` `[O, C, kh, kw]`, packed for the CPU kernels of this convolution.
pub(crate) fn packed_weight(
    isa: Isa,
    shape: &ConvShape,
    precision: Precision,
    weight: &Tensor,
) -> Arc<PackedB> {
    weight.packed(isa, shape.layout(precision), |w| {
        conv::pack_forward(isa, shape, precision, w)
    })
}

/// Convolution of `x` `[N, H, W, C]` with `weight` `[O, C, kh, kw]`, plus `bias` `[O]`: `[N, OH, OW, O]`, where
/// `OH = (H + 2 padding - kh) / stride + 1`, rounded down, and `OW` likewise.
///
/// ```
/// use glimpse::{ops::{conv2d, Window}, tensor::Tensor};
/// let x = Tensor::from_vec((1..=9).map(|i| i as f32).collect(), &[1, 3, 3, 1])?;
/// let sum = Tensor::full(&[1, 1, 3, 3], 1.0);
/// let y = conv2d(&x, &sum, None, Window::square(2, 1))?;
/// assert_eq!(y.dims(), &[1, 2, 2, 1]);
/// assert_eq!(y.data(), &[12.0, 16.0, 24.0, 28.0]);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where `x` or `weight` does not have four axes, their channels differ, `bias` is not `[O]`, the padded image is smaller than
/// the kernel, or the kernel or the stride is 0.
pub fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    window: Window,
) -> Result<Tensor> {
    let _timer = profile::time("conv2d", x.shape());
    let job = Job::check(x, weight, bias, window)?;
    let inputs: Vec<&Tensor> = [x, weight].into_iter().chain(bias).collect();
    let place = Place::of(&inputs);
    let y = match &place {
        Place::Naive => naive::forward(&job),
        Place::Cpu(isa) => cpu::forward(*isa, &job),
        Place::Gpu(gpu) => gpu::forward(gpu, &job)?,
    };
    y.record(&inputs, move |dy, wanted| match &place {
        Place::Naive => Ok(naive::backward(&job, dy, wanted)),
        Place::Cpu(isa) => Ok(cpu::backward(*isa, &job, dy, wanted)),
        Place::Gpu(gpu) => gpu::backward(gpu, &job, dy, wanted),
    })
}

#[cfg(test)]
mod tests;
