//! Penalty for attention that covers the positions of a map unevenly: doubly stochastic attention (Xu et al., 2015,
//! arXiv 1502.03044, section 4.2.1).
//!
//! The attention weights `a[s, t, p]` of sentence `s` sum to 1 over the positions `p` of each step `t`. The penalty is
//! the squared distance of their sums over the steps from 1, so that no part of the image is ignored. The sums count the
//! steps that produce a word, and leave out those that only pad the mini-batch:
//!
//! ```text
//! m[s, p] = 1 - sum over counted t of a[s, t, p]         attention missing at position p
//! y = 1/S sum over s, p of m[s, p]^2
//!
//! da[s, t, p] = -2/S m[s, p] dy                          where t is counted, else 0
//! ```
//!
//! The derivative of `m^2` with respect to `m` is `2 m`, and that of `m[s, p]` with respect to `a[s, t, p]` is -1 where
//! step `t` is counted. The chain rule multiplies the two with `1/S` and `dy`.

mod cpu;
mod gpu;
pub(crate) mod naive;

use crate::cpu::profile;
use crate::error::{Error, Result};
use crate::tensor::{Place, Tensor};

/// The sizes of the arrays.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    /// `S`
    sentences: usize,
    /// `T`
    steps: usize,
    /// `P`
    positions: usize,
}

/// The inputs, whose sizes fit.
pub(crate) struct Job<'a> {
    /// `a` `[S, T, P]`
    attention: &'a Tensor,
    /// `[S, T]`: whether the step produces a word.
    counted: &'a [bool],
    sizes: Sizes,
}

/// The forward pass's results that the backward pass reads.
pub(crate) struct Saved {
    /// `m` `[S, P]`
    missing: Tensor,
    /// `[S, T]`: 1 where the step is counted, else 0
    counted: Tensor,
    sizes: Sizes,
}

impl<'a> Job<'a> {
    /// Checks that there is a flag for each step.
    fn check(attention: &'a Tensor, counted: &'a [bool]) -> Result<Job<'a>> {
        let &[sentences, steps, positions] = attention.dims() else {
            return Err(Error::shape(
                "coverage",
                "attention [S, T, P]",
                attention.shape(),
            ));
        };
        if sentences == 0 || counted.len() != sentences * steps {
            return Err(Error::shape(
                "coverage",
                format_args!(
                    "a flag for each of {} steps, at least one",
                    sentences * steps
                ),
                format_args!("{} flags", counted.len()),
            ));
        }
        Ok(Job {
            attention,
            counted,
            sizes: Sizes {
                sentences,
                steps,
                positions,
            },
        })
    }

    /// The flags as numbers.
    fn flags(&self) -> Vec<f32> {
        self.counted.iter().map(|&counted| counted.into()).collect()
    }

    /// Returns `y`, given `m`, and saves `m` for the backward pass.
    fn penalty(&self, missing: Vec<f32>) -> (Tensor, Saved) {
        let Sizes {
            sentences,
            steps,
            positions,
        } = self.sizes;
        let squares: f64 = missing.iter().map(|&m| f64::from(m) * f64::from(m)).sum();
        let saved = Saved {
            missing: Tensor::computed(missing, &[sentences, positions]),
            counted: Tensor::computed(self.flags(), &[sentences, steps]),
            sizes: self.sizes,
        };
        let y = Tensor::scalar((squares / sentences as f64) as f32);
        (y, saved)
    }
}

/// The mean over sentences of the squared distance of each position's summed attention from one: one number.
///
/// `attention` is `[S, T, P]`. `counted` has `S T` entries: true for steps that produce a word, false for padding.
///
/// ```
/// use glimpse::{ops::coverage, tensor::Tensor};
/// // Two steps attend evenly to two positions: the attention to each position sums to 1.
/// assert_eq!(coverage(&Tensor::full(&[1, 2, 2], 0.5), &[true, true])?.item()?, 0.0);
/// // With the second step left out, half is missing at both.
/// assert_eq!(coverage(&Tensor::full(&[1, 2, 2], 0.5), &[true, false])?.item()?, 0.5);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where the shapes do not fit or there are no sentences.
pub fn coverage(attention: &Tensor, counted: &[bool]) -> Result<Tensor> {
    let _timer = profile::time("coverage", attention.shape());
    let job = Job::check(attention, counted)?;
    let place = Place::of(&[attention]);
    let (y, saved) = match &place {
        Place::Naive => naive::forward(&job),
        Place::Cpu(isa) => cpu::forward(*isa, &job),
        Place::Gpu(gpu) => gpu::forward(gpu, &job)?,
    };
    y.record(&[attention], move |dy, _| {
        let da = match &place {
            Place::Naive => naive::backward(&saved, dy),
            Place::Cpu(isa) => cpu::backward(*isa, &saved, dy),
            Place::Gpu(gpu) => gpu::backward(gpu, &saved, dy)?,
        };
        Ok(vec![Some(da)])
    })
}

#[cfg(test)]
mod tests;
