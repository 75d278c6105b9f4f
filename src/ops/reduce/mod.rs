//! The sum and the mean of all elements.
//!
//! ```text
//! sum   y = sum over i of x[i]           dx[i] = dy
//! mean  y = 1/n sum over i of x[i]       dx[i] = dy / n
//! ```
//!
//! The derivative of the sum with respect to each element is 1, that of the mean is `1/n`. Sums are taken in `f64` on the
//! CPU and in `f32` on the GPU, in an order that depends only on the number of elements.

mod cpu;
mod gpu;
pub(crate) mod naive;

use crate::cpu::profile;
use crate::error::{Error, Result};
use crate::tensor::{Place, Tensor};

/// The sum of all elements, of any shape.
///
/// ```
/// use glimpse::{ops::sum, tensor::Tensor};
/// assert_eq!(sum(&Tensor::full(&[2, 3], 0.5))?.item()?, 3.0);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// On the GPU, where its memory is used up or it no longer answers.
pub fn sum(x: &Tensor) -> Result<Tensor> {
    let _timer = profile::time("sum", x.shape());
    total(x, 1.0)
}

/// The mean of all elements, of any shape.
///
/// ```
/// use glimpse::{ops::mean, tensor::Tensor};
/// assert_eq!(mean(&Tensor::full(&[2, 3], 0.5))?.item()?, 0.5);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where there are no elements.
pub fn mean(x: &Tensor) -> Result<Tensor> {
    let _timer = profile::time("mean", x.shape());
    if x.is_empty() {
        return Err(Error::shape("mean", "at least one element", x.shape()));
    }
    total(x, x.len() as f64)
}

/// The sum divided by `count`: 1 for the sum, `n` for the mean.
fn total(x: &Tensor, count: f64) -> Result<Tensor> {
    let place = Place::of(&[x]);
    let y = match &place {
        Place::Naive => naive::forward(x, count),
        Place::Cpu(isa) => cpu::forward(*isa, x, count),
        Place::Gpu(gpu) => gpu::forward(gpu, x, count)?,
    };
    let dims = x.dims().to_vec();
    y.record(&[x], move |dy, _| {
        let dx = match &place {
            Place::Naive => naive::backward(dy, &dims, count),
            Place::Cpu(isa) => cpu::backward(*isa, dy, &dims, count),
            Place::Gpu(gpu) => gpu::backward(gpu, dy, &dims, count)?,
        };
        Ok(vec![Some(dx)])
    })
}

#[cfg(test)]
mod tests;
