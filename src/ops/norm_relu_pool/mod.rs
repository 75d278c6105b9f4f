//! Batch norm, ReLU and average pooling as one operation: DenseNet's transition from one block to the next.
//!
//! ```text
//! z = max(0, scale x + shift)        y[n][p][q][c] = 1/s^2 sum over u, v of z[n][p s + u][q s + v][c]
//! ```
//!
//! where `s` is the height, the width and the stride of the window, `scale` and `shift` are the folded batch norm, and
//! `z` is never stored. In DenseNet's paper a 1x1 convolution stands between the ReLU and the pool. Both are linear, the
//! convolution over channels and the pool over pixels, so they commute. With the pool first and a window of 2, the
//! convolution has a quarter of the pixels.
//!
//! The gradient is composed of those of the three operations:
//!
//! ```text
//! dz[n][i][j][c] = 1/s^2 dy[n][i / s][j / s][c] where a window covers (i, j), else 0        quotients rounded down
//! ```
//!
//! Then `dz` is the gradient with respect to the output of batch norm and ReLU, whose
//! [module](mod@crate::ops::batch_norm) derives `dx`, `dgamma` and `dbeta` from it.

mod cpu;
mod gpu;
pub(crate) mod naive;

use crate::cpu::profile;
use crate::error::{Error, Result};
use crate::ops::batch_norm::{Moments, Norm};
use crate::tensor::{Place, Tensor};

// The inputs, as the tape numbers them.
const X: usize = 0;
const GAMMA: usize = 1;
const BETA: usize = 2;

/// The input, whose shape fits the norm and the window, and its sizes.
struct Job {
    /// `[N, H, W, C]`
    x: Tensor,
    batch: usize,
    /// H and W.
    input: [usize; 2],
    channels: usize,
    /// Height and width of the window, and its stride.
    window: usize,
}

impl Job {
    /// Checks that the norm and the window fit `x`, and keeps `x` for the backward pass.
    fn check(x: &Tensor, norm: &Norm, window: usize) -> Result<Job> {
        let &[batch, height, width, channels] = x.dims() else {
            return Err(Error::shape("norm_relu_pool", "x [N, H, W, C]", x.shape()));
        };
        if window == 0 {
            return Err(Error::value("norm_relu_pool", "the window must not be 0"));
        }
        if height.min(width) < window {
            let want = format_args!("a map of at least {window} x {window} pixels");
            return Err(Error::shape("norm_relu_pool", want, x.shape()));
        }
        norm.check("norm_relu_pool", channels)?;
        Ok(Job {
            x: x.clone(),
            batch,
            input: [height, width],
            channels,
            window,
        })
    }

    /// Height and width of `y`.
    fn output(&self) -> [usize; 2] {
        self.input.map(|n| n / self.window)
    }

    /// `[N, H / window, W / window, C]`
    fn out_dims(&self) -> [usize; 4] {
        let [out_height, out_width] = self.output();
        [self.batch, out_height, out_width, self.channels]
    }

    /// The number of pixels of `x`.
    fn pixels(&self) -> usize {
        self.batch * self.input[0] * self.input[1]
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
/// let norm = Norm { gamma: &one, beta: &zero, eps: 0.0, statistics };
/// assert_eq!(norm_relu_pool(&x, &norm, 2)?.0.data(), &[2.25]);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where `x` is not `[N, H, W, C]` or is smaller than the window, the window is 0, or the norm's parameters are not `[C]`.
pub fn norm_relu_pool(x: &Tensor, norm: &Norm, window: usize) -> Result<(Tensor, Option<Moments>)> {
    let _timer = profile::time("norm_relu_pool", x.shape());
    let job = Job::check(x, norm, window)?;
    let place = norm.place(&[x]);
    let (y, folded, moments) = match &place {
        Place::Naive => naive::forward(&job, norm),
        Place::Cpu(isa) => cpu::forward(*isa, &job, norm),
        Place::Gpu(gpu) => gpu::forward(gpu, &job, norm)?,
    };
    let y = y.record(
        &[x, norm.gamma, norm.beta],
        move |dy, wanted| match &place {
            Place::Naive => Ok(naive::backward(&job, &folded, dy, wanted)),
            Place::Cpu(isa) => Ok(cpu::backward(*isa, &job, &folded, dy, wanted)),
            Place::Gpu(gpu) => gpu::backward(gpu, &job, &folded, dy, wanted),
        },
    )?;
    Ok((y, moments))
}

#[cfg(test)]
mod tests;
