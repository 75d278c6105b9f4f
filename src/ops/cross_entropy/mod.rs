//! Softmax and cross-entropy in one operation: the negative log-likelihood of the targets.
//!
//! ```text
//! p = softmax(x)                         x [R, V]: logits, one row for each prediction
//! q = (1 - s) onehot(target) + s / V     s: label smoothing
//! loss = 1/R sum over rows of w[r] (-sum_v q[r][v] ln p[r][v])        w: the rows' weights, all 1 by default
//!
//! dx[r] = dloss w[r] / R (p[r] - q[r])
//! ```
//!
//! With `ln p[v] = x[v] - ln sum_u exp x[u]` and `sum_v q[v] = 1`, the inner sum of a row is
//! `ln sum_u exp x[u] - sum_v q[v] x[v]`. The derivative of the first term with respect to `x[v]` is
//! `exp x[v] / sum_u exp x[u] = p[v]`, that of the second is `q[v]`. Rows whose target is ignored count neither in the sum
//! nor in `R`, and their gradient is zero.
//!
//! If the logits are tracked, the forward pass also stores `w (p - q)`. The backward pass only multiplies that buffer by
//! `dloss / R`.
//!
//! With the advantages of sampled words as weights, [`weighted_cross_entropy`] has the policy gradient of REINFORCE
//! (Williams, 1992) as its gradient.

mod cpu;
mod gpu;
pub(crate) mod naive;

use crate::cpu::profile;
use crate::error::{Error, Result};
use crate::tensor::{Place, Tensor};

/// Options of [`cross_entropy`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CrossEntropy {
    /// Rows with this target are left out; it need not be a class.
    pub ignore_index: Option<usize>,
    /// The part of the target probability that is spread evenly over all classes, in `[0, 1]`.
    pub label_smoothing: f32,
}

/// The inputs, whose sizes fit.
pub(crate) struct Job<'a> {
    /// `x` `[.., V]`, which are `[R, V]` if no row is ignored
    logits: &'a Tensor,
    /// `V`
    classes: usize,
    /// The class of each row.
    targets: &'a [usize],
    /// `w`
    weights: &'a [f32],
    options: CrossEntropy,
    /// `R`: the rows that are not ignored.
    counted: usize,
}

/// The forward pass's results that the backward pass reads.
pub(crate) struct Saved {
    /// `w (p - q)`, with the dimensions of the logits
    residual: Tensor,
    /// `R`
    counted: usize,
}

impl<'a> Job<'a> {
    /// Checks that the arguments fit, and counts the rows.
    fn check(
        logits: &'a Tensor,
        targets: &'a [usize],
        weights: &'a [f32],
        options: CrossEntropy,
    ) -> Result<Job<'a>> {
        let Some((&classes, leading)) = logits.dims().split_last() else {
            return Err(Error::shape(
                "cross_entropy",
                "logits [.., V]",
                logits.shape(),
            ));
        };
        let rows: usize = leading.iter().product();
        if rows != targets.len() {
            let got = format_args!("{} targets for {}", targets.len(), logits.shape());
            return Err(Error::shape(
                "cross_entropy",
                format_args!("{rows} targets"),
                got,
            ));
        }
        if weights.len() != rows {
            return Err(Error::shape(
                "cross_entropy",
                format_args!("{rows} weights"),
                format_args!("{} weights", weights.len()),
            ));
        }
        if let Some(weight) = weights.iter().find(|w| !w.is_finite()) {
            let what = format_args!("the weight {weight} is not finite");
            return Err(Error::value("cross_entropy", what));
        }
        let CrossEntropy {
            ignore_index,
            label_smoothing,
        } = options;
        if !(0.0..=1.0).contains(&label_smoothing) {
            let what = format_args!("label smoothing {label_smoothing} is not between 0 and 1");
            return Err(Error::value("cross_entropy", what));
        }
        let counts = |target: usize| Some(target) != ignore_index;
        if let Some(target) = targets.iter().find(|&&t| counts(t) && t >= classes) {
            let what = format_args!("there is no class {target} among {classes} (from 0 on)");
            return Err(Error::value("cross_entropy", what));
        }
        let counted = targets.iter().filter(|&&t| counts(t)).count();
        if counted == 0 {
            return Err(Error::value(
                "cross_entropy",
                "every target is ignored, so there is no mean",
            ));
        }
        Ok(Job {
            logits,
            classes,
            targets,
            weights,
            options,
            counted,
        })
    }

    /// Keeps `residual` for the backward pass, if there will be one.
    fn saved(&self, residual: Vec<f32>) -> Option<Saved> {
        self.logits.is_tracked().then(|| Saved {
            residual: Tensor::computed(residual, self.logits.dims()),
            counted: self.counted,
        })
    }
}

/// Mean cross-entropy of logits `[.., V]` and one target for each row, over the rows that are not ignored: one number.
///
/// ```
/// use glimpse::{ops::{CrossEntropy, cross_entropy}, tensor::Tensor};
/// let logits = Tensor::zeros(&[2, 4]);
/// let loss = cross_entropy(&logits, &[3, 0], CrossEntropy::default())?;
/// assert!((loss.item()? - 4f32.ln()).abs() < 1e-6);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where the number of targets is not that of the rows, a target is not a class, the smoothing is outside `[0, 1]`, or
/// every row is ignored, so that there is no mean.
pub fn cross_entropy(logits: &Tensor, targets: &[usize], options: CrossEntropy) -> Result<Tensor> {
    weighted_cross_entropy(logits, targets, &vec![1.0; targets.len()], options)
}

/// Cross-entropy with a weight for each row: `1/R sum_r w[r] loss[r]` over the `R` rows that are not ignored; one number.
///
/// A weight may be negative; the row's target then becomes less likely.
///
/// ```
/// use glimpse::{ops::{CrossEntropy, weighted_cross_entropy}, tensor::Tensor};
/// let logits = Tensor::zeros(&[2, 4]);
/// let loss = weighted_cross_entropy(&logits, &[3, 0], &[3.0, -1.0], CrossEntropy::default())?;
/// assert!((loss.item()? - 4f32.ln()).abs() < 1e-6);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where there is not one finite weight for each row; also those of [`cross_entropy`].
pub fn weighted_cross_entropy(
    logits: &Tensor,
    targets: &[usize],
    weights: &[f32],
    options: CrossEntropy,
) -> Result<Tensor> {
    let _timer = profile::time("cross_entropy", logits.shape());
    let job = Job::check(logits, targets, weights, options)?;
    let place = Place::of(&[logits]);
    let (loss, saved) = match &place {
        Place::Naive => naive::forward(&job),
        Place::Cpu(isa) => cpu::forward(*isa, &job),
        Place::Gpu(gpu) => gpu::forward(gpu, &job)?,
    };
    loss.record(&[logits], move |dloss, _| {
        let dx = saved.map(|saved| match &place {
            Place::Naive => Ok(naive::backward(saved, dloss)),
            Place::Cpu(isa) => Ok(cpu::backward(*isa, saved, dloss)),
            Place::Gpu(gpu) => gpu::backward(gpu, saved, dloss),
        });
        Ok(vec![dx.transpose()?])
    })
}

#[cfg(test)]
mod tests;
