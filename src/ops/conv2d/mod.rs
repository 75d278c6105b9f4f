//! Two-dimensional convolution; as usual in deep learning, it is a cross-correlation.
//!
//! ```text
//! y[n, i, j, o] = b[o] + sum over ky, kx, c of  x[n, i s + ky - p, j s + kx - p, c]  w[o, c, ky, kx]
//! ```
//!
//! with stride `s`, padding `p`, and `x = 0` outside the image. `y` is a sum of products `x w`. The derivative of a product
//! with respect to `x` is `w`, and with respect to `w` it is `x`. So each product adds `dy w` to the gradient with respect
//! to its `x`, and `dy x` to the gradient with respect to its `w`:
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

use crate::cpu::conv::{self, ConvShape};
use crate::cpu::packed::PackedB;
use crate::cpu::pixels::Pixels;
use crate::cpu::{Isa, Precision, profile};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::gpu::conv::Operands;
use crate::tensor::{Device, Tensor};

/// Stride and padding of a convolution. Pairs are `[vertical, horizontal]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Distance in input pixels between the windows of two neighbouring output pixels.
    pub stride: [usize; 2],
    /// Rows and columns of zeros added on each side of the image.
    pub padding: [usize; 2],
}

impl Window {
    /// Equal stride, and equal padding, in both directions.
    pub const fn square(stride: usize, padding: usize) -> Self {
        Window {
            stride: [stride; 2],
            padding: [padding; 2],
        }
    }
}

/// The sizes of `op` on `x` `[N, H, W, C]` with `weight` `[O, C, kh, kw]`; an error where they do not fit.
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

/// Precision of the operands on the CPU: bf16 only in inference; tracked inputs are multiplied in `f32`.
pub(crate) fn precision(inputs: &[&Tensor]) -> Precision {
    match inputs.iter().any(|t| t.is_tracked()) {
        true => Precision::F32,
        false => Precision::current(),
    }
}

/// Precision of the operands on the GPU: f16 only in inference; tracked inputs are multiplied in `f32`.
pub(crate) fn operands(gpu: &Gpu, inputs: &[&Tensor]) -> Operands {
    let tracked = inputs.iter().any(|t| t.is_tracked());
    match !tracked && Precision::current() == Precision::Bf16 && gpu.has_f16() {
        true => Operands::F16,
        false => Operands::F32,
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
/// Where the channels differ, the padded image is smaller than the kernel, or the stride is 0.
pub fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    window: Window,
) -> Result<Tensor> {
    let _timer = profile::time("conv2d", x.shape());
    let shape = conv_shape("conv2d", x, weight, window)?;
    if let Some(bias) = bias
        && bias.dims() != [shape.out_channels]
    {
        return Err(Error::shape(
            "conv2d",
            format_args!("bias [{}]", shape.out_channels),
            format_args!("bias {}", bias.shape()),
        ));
    }
    let inputs: Vec<&Tensor> = [x, weight].into_iter().chain(bias).collect();
    let (kept_x, kept_weight) = (x.detach(), weight.detach());
    let has_bias = bias.is_some();
    let wanted = Wanted {
        x: x.is_tracked(),
        weight: weight.is_tracked(),
        bias: bias.is_some_and(Tensor::is_tracked),
    };
    if let Device::Gpu(gpu) = Device::of(&inputs) {
        let sizes = gpu::sizes(&shape);
        let operands = operands(&gpu, &inputs);
        let y = gpu::forward(&gpu, &sizes, operands, x, weight, bias)?;
        let y = Tensor::from_gpu(y.buffer, &gpu::out_dims(&shape));
        return y.record(&inputs, move |dy, _| {
            let dx = || gpu::grad_input(&gpu, &sizes, &kept_weight, dy, kept_x.dims());
            let dw = || gpu::grad_weight(&gpu, &sizes, &kept_x, dy, kept_weight.dims());
            let db = || gpu::grad_bias(&gpu, &sizes, dy);
            let mut grads = vec![
                wanted.x.then(dx).transpose()?,
                wanted.weight.then(dw).transpose()?,
            ];
            if has_bias {
                grads.push(wanted.bias.then(db).transpose()?);
            }
            Ok(grads)
        });
    }
    let isa = Isa::current();
    let forward = if isa.is_naive() {
        naive::forward
    } else {
        cpu::forward
    };
    let pixels = Pixels {
        data: x.data(),
        stride: shape.channels,
    };
    let precision = precision(&inputs);
    let y = forward(
        isa,
        &shape,
        pixels,
        weight,
        bias.map(Tensor::data),
        precision,
    );
    let y = Tensor::computed(
        y,
        &[
            shape.batch,
            shape.out_height(),
            shape.out_width(),
            shape.out_channels,
        ],
    );

    y.record(&inputs, move |dy, _| {
        let backward = if isa.is_naive() {
            naive::backward
        } else {
            cpu::backward
        };
        let x = Pixels {
            data: kept_x.data(),
            stride: shape.channels,
        };
        let grads = backward(isa, &shape, x, kept_weight.data(), dy.data(), wanted);
        let mut out = vec![
            grads.x.map(|dx| Tensor::computed(dx, kept_x.dims())),
            grads
                .weight
                .map(|dw| Tensor::computed(dw, kept_weight.dims())),
        ];
        if has_bias {
            let bias = grads.bias;
            out.push(bias.map(|db| Tensor::computed(db, &[shape.out_channels])));
        }
        Ok(out)
    })
}

/// The inputs with respect to which a gradient is wanted.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    x: bool,
    weight: bool,
    bias: bool,
}

/// The wanted gradients, with respect to each input.
pub(crate) struct Grads {
    x: Option<Vec<f32>>,
    weight: Option<Vec<f32>>,
    bias: Option<Vec<f32>>,
}

#[cfg(test)]
mod tests;
