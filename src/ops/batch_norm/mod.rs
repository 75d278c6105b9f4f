//! Batch normalisation (Ioffe and Szegedy, 2015, arXiv 1502.03167), with one mean and one variance for each channel.
//!
//! ```text
//! xhat = (x - mean) / sqrt(var + eps)        y = gamma xhat + beta
//! mean = sum x / M                           var = sum (x - mean)^2 / M
//! ```
//!
//! In training, `mean` and `var` are the statistics of the mini-batch, over the `M = N H W` values of each channel, and
//! depend on `x`. All sums run over the values of one channel:
//!
//! ```text
//! dbeta = sum dy        dgamma = sum dy xhat
//! dx    = gamma / sqrt(var + eps) (dy - dbeta / M - xhat dgamma / M)
//! ```
//!
//! The first line follows from `y = gamma xhat + beta`. For the second, write `s = 1 / sqrt(var + eps)`. Then
//! `xhat = s (x - mean)` and `dxhat = gamma dy`. The loss depends on a value along three paths: directly, through the mean,
//! and through the variance. The derivatives of the statistics with respect to a value are
//!
//! ```text
//! dmean/dx = 1 / M        dvar/dx = 2 (x - mean) / M = 2 xhat / (s M)
//! ```
//!
//! The variance also contains the mean, but its derivative with respect to the mean is `-2 sum (x - mean) / M = 0`. The
//! derivatives of `xhat` with respect to the statistics are
//!
//! ```text
//! dxhat/dmean = -s        dxhat/dvar = -1/2 s^3 (x - mean) = -1/2 s^2 xhat
//! ```
//!
//! The chain rule adds the three paths:
//!
//! ```text
//! dx = s dxhat - s / M sum dxhat - 1/2 s^2 (sum dxhat xhat) 2 xhat / (s M)
//!    = s (dxhat - sum dxhat / M - xhat sum(dxhat xhat) / M)
//! ```
//!
//! With `sum dxhat = gamma dbeta` and `sum dxhat xhat = gamma dgamma` this is the formula for `dx` above. Its two
//! subtracted terms follow from two invariances. `y` does not change when a constant is added to all `x` of a channel, so
//! `sum dx = 0`. For `eps = 0` it does not change either when all `x` are scaled about their mean, so then
//! `sum dx xhat = 0`.
//!
//! In inference the statistics are the running ones. They are constants, so only the direct path is left:
//! `dx = gamma s dy`.
//!
//! Either way batch norm is an affine map of each channel, `y = scale x + shift` with `scale = gamma s` and
//! `shift = beta - gamma s mean`. Computing these two is called folding.

mod cpu;
pub(crate) mod gpu;
pub(crate) mod naive;

use std::sync::Arc;

use crate::cpu::Isa;
use crate::cpu::pixels::Pixels;
use crate::cpu::profile;
use crate::cpu::rows::{self, Normalizer};
use crate::error::{Error, Result};
use crate::gpu::Slice;
use crate::tensor::{Device, Tensor};

/// The parameters of a batch norm over `C` channels.
#[derive(Clone, Copy)]
pub struct Norm<'a> {
    /// The scale, gamma, `[C]`.
    pub weight: &'a Tensor,
    /// The shift, beta, `[C]`.
    pub bias: &'a Tensor,
    /// Added to the variance before the root; 1e-5 in torchvision.
    pub eps: f32,
    /// The mean and variance to normalise by.
    pub statistics: Statistics<'a>,
}

/// Source of the mean and variance that batch norm normalises by.
#[derive(Clone, Copy)]
pub enum Statistics<'a> {
    /// The mini-batch's own mean and variance: training.
    Batch,
    /// The running mean and variance gathered in training, both `[C]`: inference.
    Running {
        /// The mean of each channel.
        mean: &'a Tensor,
        /// The variance of each channel.
        var: &'a Tensor,
    },
    /// Running statistics, folded beforehand with the scale and shift of this norm.
    Folded(&'a Folded),
}

/// Mean and variance of each channel of a mini-batch.
#[derive(Clone, Debug)]
pub struct Moments {
    /// `sum(x) / rows`, `[C]`.
    pub mean: Tensor,
    /// `sum((x - mean)^2) / rows`, `[C]`: the biased variance that batch norm normalises by.
    pub var: Tensor,
}

impl From<rows::Moments> for Moments {
    fn from(moments: rows::Moments) -> Self {
        let channels = [moments.mean.len()];
        Moments {
            mean: Tensor::computed(moments.mean, &channels),
            var: Tensor::computed(moments.var, &channels),
        }
    }
}

impl Moments {
    /// Updates running statistics `mean` and `var`, both `[C]`, with these moments of a mini-batch of `rows` pixels.
    ///
    /// `running = (1 - momentum) running + momentum batch`; the variance of the batch is made unbiased.
    ///
    /// # Errors
    /// Where the channels differ, or the GPU does not answer.
    pub fn update_running(
        &self,
        [mean, var]: [&mut Tensor; 2],
        momentum: f32,
        rows: usize,
    ) -> Result<()> {
        let unbiased = rows as f32 / (rows.max(2) - 1) as f32;
        if mean.dims() != self.mean.dims() || var.dims() != self.mean.dims() {
            let got = format_args!("{} and {}", mean.shape(), var.shape());
            let want = format_args!("statistics {}", self.mean.shape());
            return Err(Error::shape("batch_norm", want, got));
        }
        if let Device::Gpu(gpu) = Device::of(&[&self.mean, mean]) {
            return gpu::update_running(&gpu, [mean, var], self, momentum, unbiased);
        }
        for (r, m) in mean.data_mut().iter_mut().zip(self.mean.data()) {
            *r += momentum * (m - *r);
        }
        for (r, v) in var.data_mut().iter_mut().zip(self.var.data()) {
            *r += momentum * (v * unbiased - *r);
        }
        Ok(())
    }
}

/// A norm with running statistics, folded into an affine map once for many uses.
#[derive(Clone)]
pub struct Folded(FoldedOn);

#[derive(Clone)]
enum FoldedOn {
    Cpu(Arc<Normalizer>),
    /// `[4, C]`: scale, shift, mean, `1 / sqrt(var + eps)`; and the number of channels `C`.
    Gpu(Slice, usize),
}

impl Folded {
    /// Folds `norm`; `None` if it uses the statistics of the mini-batch.
    ///
    /// # Errors
    /// Where the GPU does not answer.
    pub fn new(norm: &Norm) -> Result<Option<Self>> {
        let folded = match norm.device(&[]) {
            Device::Gpu(gpu) => {
                let state = norm.running_state(&gpu)?;
                state.map(|state| FoldedOn::Gpu(state, norm.weight.len()))
            }
            Device::Cpu => norm.running_normalizer().map(FoldedOn::Cpu),
        };
        Ok(folded.map(Folded))
    }

    fn channels(&self) -> usize {
        match &self.0 {
            FoldedOn::Cpu(normalizer) => normalizer.scale.len(),
            FoldedOn::Gpu(_, channels) => *channels,
        }
    }
}

impl Norm<'_> {
    /// Checks that all parameters are `[channels]`.
    pub(crate) fn check(&self, op: &'static str, channels: usize) -> Result<()> {
        let running = match self.statistics {
            Statistics::Batch | Statistics::Folded(_) => vec![],
            Statistics::Running { mean, var } => vec![mean, var],
        };
        for t in [self.weight, self.bias].into_iter().chain(running) {
            if t.dims() != [channels] {
                return Err(Error::shape(
                    op,
                    format_args!("norm parameters [{channels}]"),
                    t.shape(),
                ));
            }
        }
        match self.statistics {
            Statistics::Folded(folded) if folded.channels() != channels => Err(Error::shape(
                op,
                format_args!("statistics [{channels}]"),
                format_args!("[{}]", folded.channels()),
            )),
            _ => Ok(()),
        }
    }

    /// The device on which an operation with this norm and these other inputs runs.
    pub(crate) fn device(&self, others: &[&Tensor]) -> Device {
        match self.statistics {
            Statistics::Folded(Folded(FoldedOn::Gpu(state, _))) => {
                Device::Gpu(state.buffer.gpu().clone())
            }
            _ => Device::of(&[others, &[self.weight, self.bias]].concat()),
        }
    }

    /// Folds this norm for `rows` pixels `x`; also returns the moments of the mini-batch if the norm uses them.
    pub(crate) fn fold(
        &self,
        isa: Isa,
        x: Pixels,
        rows: usize,
    ) -> (Arc<Normalizer>, Option<rows::Moments>) {
        match self.running_normalizer() {
            Some(normalizer) => (normalizer, None),
            None => {
                let moments = if isa.is_naive() {
                    naive::moments
                } else {
                    cpu::moments
                };
                let moments = moments(isa, x, rows, self.weight.len());
                (self.normalizer(&moments), Some(moments))
            }
        }
    }

    /// Folds this norm if it has running statistics, which do not depend on the input.
    pub(crate) fn running_normalizer(&self) -> Option<Arc<Normalizer>> {
        match self.statistics {
            Statistics::Batch => None,
            Statistics::Running { mean, var } => Some(self.running(mean, var)),
            Statistics::Folded(Folded(FoldedOn::Cpu(folded))) => Some(folded.clone()),
            // Then the operation runs on the GPU, and this is not called.
            Statistics::Folded(Folded(FoldedOn::Gpu(..))) => None,
        }
    }

    fn running(&self, mean: &Tensor, var: &Tensor) -> Arc<Normalizer> {
        let (gamma, beta) = (self.weight.data(), self.bias.data());
        let folded = Normalizer::new(gamma, beta, mean.data(), var.data(), self.eps);
        Arc::new(folded)
    }

    /// Folds this norm for a mini-batch with these moments.
    pub(crate) fn normalizer(&self, moments: &rows::Moments) -> Arc<Normalizer> {
        let (gamma, beta) = (self.weight.data(), self.bias.data());
        let folded = Normalizer::new(gamma, beta, &moments.mean, &moments.var, self.eps);
        Arc::new(folded)
    }

    /// Whether the norm uses the statistics of the mini-batch.
    pub(crate) fn is_batch(&self) -> bool {
        matches!(self.statistics, Statistics::Batch)
    }
}

/// Batch norm of the channels, the last axis of `x` `[.., C]`. In training it also returns the moments of the mini-batch,
/// for the running statistics.
///
/// ```
/// use glimpse::{ops::{batch_norm, Norm, Statistics}, tensor::Tensor};
/// let x = Tensor::from_vec(vec![1.0, 3.0], &[2, 1])?;
/// let (one, zero) = (Tensor::full(&[1], 1.0), Tensor::zeros(&[1]));
/// let norm = Norm { weight: &one, bias: &zero, eps: 0.0, statistics: Statistics::Batch };
/// let (y, moments) = batch_norm(&x, &norm)?;
/// assert_eq!(y.data(), &[-1.0, 1.0]);
/// assert_eq!(moments.unwrap().mean.data(), [2.0]);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where a parameter is not `[C]`.
pub fn batch_norm(x: &Tensor, norm: &Norm) -> Result<(Tensor, Option<Moments>)> {
    let _timer = profile::time("batch_norm", x.shape());
    normalise(x, norm, false)
}

/// [`batch_norm`] and, if `relu`, a ReLU of its result, without storing the map between the two.
pub(crate) fn normalise(x: &Tensor, norm: &Norm, relu: bool) -> Result<(Tensor, Option<Moments>)> {
    let channels = x.dims().last().copied().unwrap_or(0);
    norm.check("batch_norm", channels)?;
    if let Device::Gpu(gpu) = norm.device(&[x]) {
        return gpu::normalise(gpu, x, norm, relu);
    }
    let isa = Isa::current();
    let rows = x.len() / channels.max(1);
    let (normalizer, moments) = norm.fold(
        isa,
        Pixels {
            data: x.data(),
            stride: channels,
        },
        rows,
    );
    let forward = if isa.is_naive() {
        naive::forward
    } else {
        cpu::forward
    };
    let y = Tensor::computed(forward(isa, x.data(), &normalizer, relu), x.dims());

    let (kept, batch) = (x.detach(), norm.is_batch());
    let y = y.record(&[x, norm.weight, norm.bias], move |dy, _| {
        let backward = if isa.is_naive() {
            naive::backward
        } else {
            cpu::backward
        };
        let grads = backward(
            isa,
            kept.data(),
            dy.data(),
            &normalizer,
            Variant { batch, relu },
        );
        Ok(vec![
            Some(Tensor::computed(grads.x, kept.dims())),
            Some(Tensor::computed(grads.gamma, &[channels])),
            Some(Tensor::computed(grads.beta, &[channels])),
        ])
    })?;
    Ok((y, moments.map(Moments::from)))
}

/// Which of the operation's gradients is computed.
#[derive(Clone, Copy)]
pub(crate) struct Variant {
    /// The norm used the statistics of the mini-batch.
    pub(crate) batch: bool,
    /// A ReLU followed the norm.
    pub(crate) relu: bool,
}

/// The gradients with respect to the input and the parameters.
pub(crate) struct Grads {
    pub(crate) x: Vec<f32>,
    pub(crate) gamma: Vec<f32>,
    pub(crate) beta: Vec<f32>,
}

#[cfg(test)]
mod tests;
