//! Batch norm, ReLU and average pooling as one operation: DenseNet's transition from one block to the next.
//!
//! ```text
//! z = max(0, scale x + shift)        y[n][p][q][c] = 1/s^2 sum over u, v of z[n][p s + u][q s + v][c]
//! ```
//!
//! where `s` is the window, `scale` and `shift` are the folded batch norm, and `z` is never stored. In DenseNet's paper a
//! 1x1 convolution stands between the ReLU and the pool. Both are linear, the convolution over channels and the pool over
//! pixels, so they commute. With the pool first and a window of 2, the convolution has a quarter of the pixels.
//!
//! The gradient is composed of those of the three operations:
//!
//! ```text
//! dz[n][i][j][c] = 1/s^2 dy[n][i / s][j / s][c] where z > 0 and a window covers (i, j), else 0
//! ```
//!
//! Then `dz` is the gradient with respect to the output of batch norm, whose [module](mod@crate::ops::batch_norm) derives
//! `dx`, `dgamma` and `dbeta` from it.

mod cpu;
mod gpu;

use crate::cpu::pixels::{Pixels, PixelsMut};
use crate::cpu::rows;
use crate::cpu::{Isa, memory, profile};
use crate::error::{Error, Result};
use crate::ops::avg_pool2d::avg_pool2d;
use crate::ops::batch_norm::{Moments, Norm, batch_norm};
use crate::ops::relu::relu;
use crate::tensor::{Device, Tensor};

/// Sizes of the map and of the window, which is square. Its stride is its size.
#[derive(Clone, Copy)]
struct Sizes {
    input: [usize; 2],
    channels: usize,
    window: usize,
}

impl Sizes {
    fn output(&self) -> [usize; 2] {
        self.input.map(|n| n / self.window)
    }
}

/// The mean of `relu(batch_norm(x))` under windows of `window` by `window` pixels: `[N, H, W, C]` to
/// `[N, H / window, W / window, C]`.
///
/// Rows and columns at the lower and right edge that do not fill a window are ignored. In training it also returns the
/// moments of the mini-batch, for the running statistics.
///
/// ```
/// use glimpse::{ops::{norm_relu_pool, Norm, Statistics}, tensor::Tensor};
/// let x = Tensor::from_vec(vec![-1.0, 1.0, 2.0, 6.0], &[1, 2, 2, 1])?;
/// let (one, zero) = (Tensor::full(&[1], 1.0), Tensor::zeros(&[1]));
/// let statistics = Statistics::Running { mean: &zero, var: &one };
/// let norm = Norm { weight: &one, bias: &zero, eps: 0.0, statistics };
/// assert_eq!(norm_relu_pool(&x, &norm, 2)?.0.data(), &[2.25]);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where `x` is not `[N, H, W, C]` or is smaller than the window, or the norm's parameters are not `[C]`.
pub fn norm_relu_pool(x: &Tensor, norm: &Norm, window: usize) -> Result<(Tensor, Option<Moments>)> {
    let _timer = profile::time("norm_relu_pool", x.shape());
    let &[batch, height, width, channels] = x.dims() else {
        return Err(Error::shape("norm_relu_pool", "x [N, H, W, C]", x.shape()));
    };
    if window == 0 || height.min(width) < window {
        let want = format_args!("a map of at least {window} x {window} pixels, and a window");
        return Err(Error::shape("norm_relu_pool", want, x.shape()));
    }
    norm.check("norm_relu_pool", channels)?;
    let sizes = Sizes {
        input: [height, width],
        channels,
        window,
    };
    if let Device::Gpu(gpu) = norm.device(&[x]) {
        return gpu::norm_relu_pool(gpu, sizes, x, norm);
    }
    let isa = Isa::current();
    if isa.is_naive() {
        let (y, moments) = batch_norm(x, norm)?;
        return Ok((avg_pool2d(&relu(&y)?, [window; 2], [window; 2])?, moments));
    }
    let pixels = batch * height * width;
    let data = Pixels {
        data: x.data(),
        stride: channels,
    };
    let (normalizer, moments) = norm.fold(isa, data, pixels);
    let [out_height, out_width] = sizes.output();
    let mut y = memory::unset(batch * out_height * out_width * channels);
    cpu::forward(isa, sizes, x.data(), normalizer.affine(), &mut y);

    let (kept, is_batch) = (x.detach(), norm.is_batch());
    let y = Tensor::computed(y, &[batch, out_height, out_width, channels]);
    let y = y.record(&[x, norm.weight, norm.bias], move |dy, _| {
        let map = |data| Pixels {
            data,
            stride: channels,
        };
        let mut dz = memory::zeros(kept.len());
        cpu::spread(isa, sizes, dy.data(), &mut dz);
        let (x, state) = (map(kept.data()), normalizer.state(true));
        let (dbeta, dgamma) = rows::norm_grad_sums(isa, x, map(&dz), state, pixels);
        let sums = is_batch.then_some((&dbeta[..], &dgamma[..]));
        let mut dx = memory::zeros(kept.len());
        let out = PixelsMut {
            data: &mut dx,
            stride: channels,
        };
        rows::norm_grad_input(isa, x, map(&dz), state, sums, pixels, out);
        memory::recycle(dz);
        Ok(vec![
            Some(Tensor::computed(dx, kept.dims())),
            Some(Tensor::computed(dgamma, &[channels])),
            Some(Tensor::computed(dbeta, &[channels])),
        ])
    })?;
    Ok((y, moments.map(Moments::from)))
}

#[cfg(test)]
mod tests;
