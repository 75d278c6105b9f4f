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

use crate::cpu::Isa;
use crate::cpu::conv::ConvShape;
use crate::cpu::pixels::{Pixels, PixelsMut};
use crate::cpu::{memory, profile};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::conv::After;
use crate::ops::batch_norm::{self, Folded, Moments, Norm};
use crate::ops::conv2d::gpu::{map, out_dims, sizes};
use crate::ops::conv2d::{Window, conv_shape, operands, precision};
use crate::tensor::{Place, Tensor};

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
/// Those of [`conv2d`](crate::ops::conv2d()) and [`batch_norm`](crate::ops::batch_norm()).
pub fn norm_relu_conv(
    x: &Tensor,
    norm: &Norm,
    weight: &Tensor,
    window: Window,
) -> Result<(Tensor, Option<Moments>)> {
    let _timer = profile::time("norm_relu_conv", x.shape());
    let shape = conv_shape("norm_relu_conv", x, weight, window)?;
    norm.check("norm_relu_conv", shape.channels)?;
    if let Place::Gpu(gpu) = norm.place(&[x, weight]) {
        return on_gpu(gpu, x, norm, weight, &shape);
    }
    let isa = Isa::current();
    let pixels = Pixels {
        data: x.data(),
        stride: shape.channels,
    };
    let (folded, moments) = match isa.is_naive() {
        true => batch_norm::naive::fold_for(norm, pixels, shape.pixels()),
        false => batch_norm::cpu::fold_for(isa, norm, pixels, shape.pixels()),
    };
    let out_channels = shape.out_channels;
    let mut y = memory::unset(shape.out_pixels() * out_channels);
    let forward = if isa.is_naive() {
        naive::forward
    } else {
        cpu::forward
    };
    forward(
        isa,
        &shape,
        pixels,
        &folded,
        weight,
        precision(&[x, norm.gamma, norm.beta, weight]),
        PixelsMut {
            data: &mut y,
            stride: out_channels,
        },
    );
    let dims = [
        shape.batch,
        shape.out_height(),
        shape.out_width(),
        out_channels,
    ];
    let y = Tensor::computed(y, &dims);

    let (kept_x, kept_weight) = (x.detach(), weight.detach());
    let y = y.record(&[x, norm.gamma, norm.beta, weight], move |dy, _| {
        let backward = if isa.is_naive() {
            naive::backward
        } else {
            cpu::backward
        };
        let mut dx = memory::zeros(kept_x.len());
        let pixels = Pixels {
            data: kept_x.data(),
            stride: shape.channels,
        };
        let grads = backward(
            isa,
            &Composite {
                shape,
                x: pixels,
                folded: &folded,
                weight: kept_weight.data(),
            },
            Pixels {
                data: dy.data(),
                stride: shape.out_channels,
            },
            PixelsMut {
                data: &mut dx,
                stride: shape.channels,
            },
        );
        Ok(vec![
            Some(Tensor::computed(dx, kept_x.dims())),
            Some(grads.gamma),
            Some(grads.beta),
            Some(Tensor::computed(grads.weight, kept_weight.dims())),
        ])
    })?;
    Ok((y, moments))
}

/// [`norm_relu_conv`] on the GPU.
fn on_gpu(
    gpu: Gpu,
    x: &Tensor,
    norm: &Norm,
    weight: &Tensor,
    shape: &ConvShape,
) -> Result<(Tensor, Option<Moments>)> {
    let (sizes, dims) = (sizes(shape), out_dims(shape));
    let from = map(x.on(&gpu)?, sizes.channels);
    let (folded, moments) = batch_norm::gpu::fold_for(&gpu, norm, &from, sizes.pixels())?;
    let to = map(gpu.unset(dims.iter().product())?, sizes.out_channels);
    let operands = operands(&gpu, &[x, norm.gamma, norm.beta, weight]);
    gpu::forward(
        &gpu,
        &sizes,
        [&from, &to],
        &folded.on(&gpu)?,
        weight,
        operands,
        After::Nothing,
    )?;
    let composite = gpu::Composite {
        shape: sizes,
        x: from,
        folded,
        weight: weight.detach(),
    };
    let x_dims = x.dims().to_vec();
    let y = Tensor::from_gpu(to.data.buffer, &dims);
    let y = y.record(&[x, norm.gamma, norm.beta, weight], move |dy, _| {
        let dx = map(gpu.unset(x_dims.iter().product())?, sizes.channels);
        let dy = map(dy.on(&gpu)?, sizes.out_channels);
        let grads = composite.backward(&gpu, &dy, &dx, false)?;
        let dx = Tensor::from_gpu(dx.data.buffer, &x_dims);
        Ok([dx, grads.gamma, grads.beta, grads.weight]
            .map(Some)
            .to_vec())
    })?;
    Ok((y, moments))
}

/// Sizes and inputs of the forward pass, for the backward pass.
pub(crate) struct Composite<'a> {
    pub(crate) shape: crate::cpu::conv::ConvShape,
    pub(crate) x: Pixels<'a>,
    pub(crate) folded: &'a Folded,
    pub(crate) weight: &'a [f32],
}

/// The gradients with respect to the parameters. The kernels add the gradient with respect to `x` to a buffer instead.
pub(crate) struct Grads {
    pub(crate) gamma: Tensor,
    pub(crate) beta: Tensor,
    pub(crate) weight: Vec<f32>,
}

#[cfg(test)]
mod tests;
