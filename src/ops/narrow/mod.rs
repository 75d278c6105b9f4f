//! Consecutive elements of one axis.
//!
//! ```text
//! y[.., i, ..] = x[.., start + i, ..]        dx[.., start + i, ..] = dy[.., i, ..], zero elsewhere
//! ```
//!
//! Every element of `y` is a copy of one element of `x`, so its gradient is copied back; the other elements of `x` do not
//! influence `y`. Along the first axis [`Tensor::narrow`] is a view. Along any other axis the elements are not contiguous
//! and are copied.
//!
//! The kernels see `x` as a matrix and copy some of its columns. Its rows are the axes before this one, and its columns are
//! this axis and those after it.

mod cpu;
mod gpu;
pub(crate) mod naive;

use crate::cpu::profile;
use crate::error::{Error, Result};
use crate::tensor::{Place, Tensor};

/// The elements as columns of a matrix.
pub(crate) struct Job {
    /// The dimensions of `x`.
    from: Vec<usize>,
    /// The dimensions of `y`.
    to: Vec<usize>,
    rows: usize,
    /// The columns of `x`.
    total: usize,
    /// The first column of `y`.
    start: usize,
    /// The columns of `y`.
    len: usize,
}

impl Job {
    fn check(x: &Tensor, axis: usize, start: usize, len: usize) -> Result<Job> {
        let from = x.dims().to_vec();
        if start
            .checked_add(len)
            .is_none_or(|end| from.get(axis).is_none_or(|&d| end > d))
        {
            return Err(Error::shape(
                "narrow",
                format_args!(
                    "at least {} elements on axis {axis}",
                    start.saturating_add(len)
                ),
                x.shape(),
            ));
        }
        let inner: usize = from[axis + 1..].iter().product();
        let mut to = from.clone();
        to[axis] = len;
        Ok(Job {
            rows: from[..axis].iter().product(),
            total: from[axis] * inner,
            start: start * inner,
            len: len * inner,
            from,
            to,
        })
    }
}

/// Elements `start .. start + len` along `axis`; the other axes stay whole.
///
/// ```
/// use glimpse::{ops::narrow, tensor::Tensor};
/// let x = Tensor::from_vec((0..6).map(|i| i as f32).collect(), &[2, 3])?;
/// assert_eq!(narrow(&x, 1, 1, 2)?.data(), &[1.0, 2.0, 4.0, 5.0]);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where the axis has no such elements.
pub fn narrow(x: &Tensor, axis: usize, start: usize, len: usize) -> Result<Tensor> {
    let _timer = profile::time("narrow", x.shape());
    let job = Job::check(x, axis, start, len)?;
    let place = Place::of(&[x]);
    let y = match &place {
        Place::Naive => naive::forward(&job, x),
        Place::Cpu(isa) => cpu::forward(*isa, &job, x),
        Place::Gpu(gpu) => gpu::forward(gpu, &job, x)?,
    };
    y.record(&[x], move |dy, _| {
        let dx = match &place {
            Place::Naive => naive::backward(&job, dy),
            Place::Cpu(isa) => cpu::backward(*isa, &job, dy),
            Place::Gpu(gpu) => gpu::backward(gpu, &job, dy)?,
        };
        Ok(vec![Some(dx)])
    })
}

#[cfg(test)]
mod tests;
