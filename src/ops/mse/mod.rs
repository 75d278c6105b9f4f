//! Mean squared error.
//!
//! ```text
//! y = 1/n sum over i of (x[i] - t[i])^2
//!
//! dx[i] = dy 2/n (x[i] - t[i])        dt = -dx
//! ```
//!
//! By the chain rule the derivative of `(x - t)^2` with respect to `x` is `2 (x - t)`, and with respect to `t` it is
//! `-2 (x - t)`.

mod cpu;
mod gpu;
pub(crate) mod naive;

use crate::cpu::profile;
use crate::error::{Error, Result};
use crate::tensor::{Place, Tensor};

// The inputs, as the tape numbers them.
const X: usize = 0;
const TARGET: usize = 1;

/// The inputs, which have one shape.
pub(crate) struct Job {
    x: Tensor,
    /// `t`
    target: Tensor,
    /// The number of elements.
    n: usize,
}

impl Job {
    /// Checks that the shapes fit, and keeps the inputs for the backward pass.
    fn check(x: &Tensor, target: &Tensor) -> Result<Job> {
        if x.dims() != target.dims() || x.is_empty() {
            let got = format_args!("{} and {}", x.shape(), target.shape());
            return Err(Error::shape(
                "mse",
                "two tensors of one shape, not empty",
                got,
            ));
        }
        Ok(Job {
            x: x.clone(),
            target: target.clone(),
            n: x.len(),
        })
    }
}

/// The mean of `(x - target)^2` over all elements of two tensors of one shape: one number.
///
/// ```
/// use glimpse::{ops::mse, tensor::Tensor};
/// assert_eq!(mse(&Tensor::full(&[3], 2.0), &Tensor::full(&[3], 0.5))?.item()?, 2.25);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where the shapes differ or there are no elements.
pub fn mse(x: &Tensor, target: &Tensor) -> Result<Tensor> {
    let _timer = profile::time("mse", x.shape());
    let job = Job::check(x, target)?;
    let inputs = [x, target];
    let place = Place::of(&inputs);
    let y = match &place {
        Place::Naive => naive::forward(&job),
        Place::Cpu(isa) => cpu::forward(*isa, &job),
        Place::Gpu(gpu) => gpu::forward(gpu, &job)?,
    };
    y.record(&inputs, move |dy, wanted| match &place {
        Place::Naive => Ok(naive::backward(&job, dy, wanted)),
        Place::Cpu(isa) => Ok(cpu::backward(*isa, &job, dy, wanted)),
        Place::Gpu(gpu) => gpu::backward(gpu, &job, dy, wanted),
    })
}

#[cfg(test)]
mod tests;
