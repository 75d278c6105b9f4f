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
//! `shift = beta - mean scale`. Computing these two is called folding.
//!
//! Where a ReLU follows, `y = max(0, scale x + shift)` in one pass. Its gradient replaces `dy` above by
//! `dz = dy where scale x + shift > 0, else 0`.

pub(crate) mod cpu;
pub(crate) mod gpu;
pub(crate) mod naive;

use crate::cpu::after::Affine;
use crate::cpu::pixels::PixelsMut;
use crate::cpu::{memory, profile};
use crate::error::{Error, Result};
use crate::tensor::{Place, Tensor, Wanted};

// The inputs, as the tape numbers them.
const X: usize = 0;
const GAMMA: usize = 1;
const BETA: usize = 2;

/// The parameters of a batch norm over `C` channels, and the statistics that it uses.
#[derive(Clone, Copy)]
pub struct Norm<'a> {
    /// The scale, `[C]`; a file of weights calls it the weight.
    pub gamma: &'a Tensor,
    /// The shift, `[C]`; a file of weights calls it the bias.
    pub beta: &'a Tensor,
    /// Added to the variance before the root; 1e-5 in torchvision.
    pub eps: f32,
    /// The mean and variance to normalise by.
    pub statistics: Statistics<'a>,
}

/// The mean and variance that batch norm normalises by.
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
    /// Running statistics, folded beforehand with the parameters of this norm.
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

impl From<[Vec<f32>; 2]> for Moments {
    fn from(mean_and_var: [Vec<f32>; 2]) -> Self {
        let [mean, var] = mean_and_var.map(|values| {
            let channels = values.len();
            Tensor::computed(values, &[channels])
        });
        Moments { mean, var }
    }
}

impl Moments {
    /// Updates running statistics `mean` and `var`, both `[C]`, with these moments of a mini-batch of `rows` pixels.
    ///
    /// `running = (1 - momentum) running + momentum batch`. The variance of the batch is first multiplied by
    /// `rows / (rows - 1)`, which makes it unbiased.
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
        match Place::of(&[&self.mean, mean]) {
            Place::Naive | Place::Cpu(_) => {
                naive::update_running(self, [mean, var], momentum, unbiased);
                Ok(())
            }
            Place::Gpu(gpu) => gpu::update_running(&gpu, self, [mean, var], momentum, unbiased),
        }
    }
}

/// A norm folded with its statistics into an affine map. In inference it is computed once and used many times.
#[derive(Clone)]
pub struct Folded {
    /// `[4, C]`: scale, shift, mean, `1 / sqrt(var + eps)`. The last two are for the gradient.
    values: Tensor,
    /// Whether the statistics are those of the mini-batch, and so depend on the input.
    batch: bool,
}

impl Folded {
    /// Folds `norm`; `None` if it uses the statistics of the mini-batch.
    ///
    /// # Errors
    /// Where the GPU does not answer.
    pub fn new(norm: &Norm) -> Result<Option<Self>> {
        norm.running(&norm.place(&[]))
    }

    /// The number of channels.
    fn channels(&self) -> usize {
        self.values.dims()[1]
    }

    /// Scale and shift, on the CPU.
    pub(crate) fn affine(&self) -> Affine<'_> {
        let [scale, shift, ..] = self.rows();
        Affine { scale, shift }
    }

    /// Scale, shift, mean and `1 / sqrt(var + eps)`, on the CPU.
    fn rows(&self) -> [&[f32]; 4] {
        let (values, channels) = (self.values.data(), self.channels());
        [0, 1, 2, 3].map(|i| &values[i * channels..][..channels])
    }
}

impl Norm<'_> {
    /// Checks that all parameters are `[channels]`.
    pub(crate) fn check(&self, op: &'static str, channels: usize) -> Result<()> {
        let running = match self.statistics {
            Statistics::Batch | Statistics::Folded(_) => vec![],
            Statistics::Running { mean, var } => vec![mean, var],
        };
        for t in [self.gamma, self.beta].into_iter().chain(running) {
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

    /// The [`Place`] where an operation with this norm and these other inputs runs.
    pub(crate) fn place(&self, others: &[&Tensor]) -> Place {
        let folded = match self.statistics {
            Statistics::Folded(folded) => vec![&folded.values],
            Statistics::Batch | Statistics::Running { .. } => vec![],
        };
        Place::of(&[&folded[..], others, &[self.gamma, self.beta]].concat())
    }

    /// Folds this norm if it has running statistics, which do not depend on the input.
    pub(crate) fn running(&self, place: &Place) -> Result<Option<Folded>> {
        match (self.statistics, place) {
            (Statistics::Batch, _) => Ok(None),
            (Statistics::Folded(folded), _) => Ok(Some(folded.clone())),
            (Statistics::Running { mean, var }, Place::Gpu(gpu)) => {
                gpu::fold(gpu, self, [&mean.on(gpu)?, &var.on(gpu)?]).map(Some)
            }
            (Statistics::Running { mean, var }, Place::Naive | Place::Cpu(_)) => {
                Ok(Some(self.fold([mean.data(), var.data()])))
            }
        }
    }

    /// Folds this norm on the CPU with a mean and a variance, `[C]` each.
    pub(crate) fn fold(&self, [mean, var]: [&[f32]; 2]) -> Folded {
        let (gamma, beta, channels) = (self.gamma.data(), self.beta.data(), self.gamma.len());
        let mut values = vec![0.0; 4 * channels];
        for c in 0..channels {
            let inv_std = (1.0 / (f64::from(var[c]) + f64::from(self.eps)).sqrt()) as f32;
            let scale = gamma[c] * inv_std;
            values[c] = scale;
            values[channels + c] = beta[c] - mean[c] * scale;
            values[2 * channels + c] = mean[c];
            values[3 * channels + c] = inv_std;
        }
        Folded {
            values: Tensor::computed(values, &[4, channels]),
            batch: self.is_batch(),
        }
    }

    /// Folds this norm on the CPU. `moments` computes the mean and the variance of the mini-batch, which are returned if the
    /// norm uses them.
    fn fold_by(&self, moments: impl FnOnce() -> [Vec<f32>; 2]) -> (Folded, Option<Moments>) {
        match self.statistics {
            Statistics::Batch => {
                let [mean, var] = moments();
                (self.fold([&mean, &var]), Some([mean, var].into()))
            }
            Statistics::Running { mean, var } => (self.fold([mean.data(), var.data()]), None),
            Statistics::Folded(folded) => (folded.clone(), None),
        }
    }

    /// Whether the norm uses the statistics of the mini-batch.
    pub(crate) fn is_batch(&self) -> bool {
        matches!(self.statistics, Statistics::Batch)
    }
}

/// The input, whose shape fits the norm, and its sizes.
pub(crate) struct Job {
    /// `[.., C]`: a matrix with one row for each pixel.
    x: Tensor,
    rows: usize,
    channels: usize,
    /// Whether a ReLU follows.
    relu: bool,
}

impl Job {
    /// Checks that the norm fits the channels of `x`, and keeps `x` for the backward pass.
    fn check(x: &Tensor, norm: &Norm, relu: bool) -> Result<Job> {
        let channels = x.dims().last().copied().unwrap_or(0);
        norm.check("batch_norm", channels)?;
        Ok(Job {
            x: x.clone(),
            rows: x.len() / channels.max(1),
            channels,
            relu,
        })
    }
}

/// Those of `dx`, `dgamma` and `dbeta` that are wanted, on the CPU. `grads` returns `dgamma` and `dbeta`, and adds to the
/// `dx` that it is given.
pub(crate) fn gradients(
    x: &Tensor,
    wanted: Wanted,
    grads: impl FnOnce(Option<PixelsMut>) -> [Tensor; 2],
) -> Vec<Option<Tensor>> {
    let stride = x.dims().last().copied().unwrap_or(0);
    let mut dx = wanted.has(X).then(|| memory::zeros(x.len()));
    let [dgamma, dbeta] = grads(dx.as_mut().map(|data| PixelsMut::new(data, stride)));
    vec![
        dx.map(|dx| Tensor::computed(dx, x.dims())),
        wanted.has(GAMMA).then_some(dgamma),
        wanted.has(BETA).then_some(dbeta),
    ]
}

/// Batch norm of the channels, the last axis of `x` `[.., C]`. In training it also returns the moments of the mini-batch,
/// for the running statistics.
///
/// ```
/// use glimpse::{ops::{batch_norm, Norm, Statistics}, tensor::Tensor};
/// let x = Tensor::from_vec(vec![1.0, 3.0], &[2, 1])?;
/// let (one, zero) = (Tensor::full(&[1], 1.0), Tensor::zeros(&[1]));
/// let norm = Norm { gamma: &one, beta: &zero, eps: 0.0, statistics: Statistics::Batch };
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
    let job = Job::check(x, norm, relu)?;
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
