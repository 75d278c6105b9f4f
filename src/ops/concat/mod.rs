//! Concatenation along the last axis, the channels of feature maps.
//!
//! ```text
//! y[r] = [a[r], b[r], ...]        a [.., A]   b [.., B]   y [.., A + B + ...]
//!
//! da[r] = dy[r][0..A]             db[r] = dy[r][A..A + B]
//! ```
//!
//! Every element is copied to one element of `y`, so the derivative is 1 there, and its gradient is copied back.

mod cpu;
mod gpu;
pub(crate) mod naive;

use std::ops::Range;

use crate::cpu::profile;
use crate::error::{Error, Result};
use crate::tensor::{Place, Tensor};

/// The sizes of tensors that fit. The tensors are matrices here: the last axis is their columns, all others their rows.
pub(crate) struct Job {
    /// The axes before the last.
    leading: Vec<usize>,
    rows: usize,
    /// The columns of each tensor.
    widths: Vec<usize>,
    /// The columns of `y`.
    total: usize,
}

impl Job {
    fn check(parts: &[&Tensor]) -> Result<Job> {
        let Some((_, leading)) = parts.first().and_then(|p| p.dims().split_last()) else {
            let got = parts
                .first()
                .map_or("none".to_string(), |p| p.shape().to_string());
            return Err(Error::shape("concat", "tensors [.., A]", got));
        };
        if let Some(other) = parts
            .iter()
            .find(|p| p.dims().split_last().map(|s| s.1) != Some(leading))
        {
            let got = format_args!("{} beside {}", other.shape(), parts[0].shape());
            return Err(Error::shape("concat", "the same axes before the last", got));
        }
        let widths: Vec<usize> = parts.iter().map(|p| p.dims()[leading.len()]).collect();
        Ok(Job {
            rows: leading.iter().product(),
            leading: leading.to_vec(),
            total: widths.iter().sum(),
            widths,
        })
    }

    /// `[.., width]`
    fn dims(&self, width: usize) -> Vec<usize> {
        [&self.leading[..], &[width]].concat()
    }

    /// The columns of each tensor in `y`.
    fn columns(&self) -> impl Iterator<Item = Range<usize>> {
        let mut first = 0;
        self.widths.iter().map(move |width| {
            let columns = first..first + width;
            first += width;
            columns
        })
    }
}

/// Concatenates tensors `[.., A]`, `[.., B]` and so on along the last axis: `[.., A + B + ..]`.
///
/// ```
/// use glimpse::{ops::concat, tensor::Tensor};
/// let a = Tensor::from_vec(vec![1.0, 2.0], &[2, 1])?;
/// let b = Tensor::from_vec(vec![3.0, 4.0, 5.0, 6.0], &[2, 2])?;
/// assert_eq!(concat(&[&a, &b])?.data(), &[1.0, 3.0, 4.0, 2.0, 5.0, 6.0]);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where there is nothing to concatenate, or the axes before the last differ.
pub fn concat(parts: &[&Tensor]) -> Result<Tensor> {
    let _timer = profile::time("concat", format_args!("{} parts", parts.len()));
    let job = Job::check(parts)?;
    let place = Place::of(parts);
    let y = match &place {
        Place::Naive => naive::forward(&job, parts),
        Place::Cpu(isa) => cpu::forward(*isa, &job, parts),
        Place::Gpu(gpu) => gpu::forward(gpu, &job, parts)?,
    };
    y.record(parts, move |dy, wanted| match &place {
        Place::Naive => Ok(naive::backward(&job, dy, wanted)),
        Place::Cpu(isa) => Ok(cpu::backward(*isa, &job, dy, wanted)),
        Place::Gpu(gpu) => gpu::backward(gpu, &job, dy, wanted),
    })
}

#[cfg(test)]
mod tests;
