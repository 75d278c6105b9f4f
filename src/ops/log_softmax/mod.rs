//! Log-softmax: log-probabilities from logits.
//!
//! ```text
//! y[r][v] = x[r][v] - ln sum_u exp x[r][u]        over the last axis
//!
//! dx[r][v] = dy[r][v] - exp(y[r][v]) sum_u dy[r][u]
//! ```
//!
//! The derivative of `ln sum_u exp x[u]` with respect to `x[v]` is `exp x[v] / sum_u exp x[u] = exp y[v]`. This term occurs
//! in every element of the row, so the derivative of `y[u]` with respect to `x[v]` is `[u = v] - exp y[v]`, where `[u = v]`
//! is 1 for equal indices and 0 otherwise. Summed over `u` with the factors `dy[u]` this is the second line.
//!
//! The kernels subtract the row's largest logit first. That does not change the result, but keeps the exponentials finite.

mod cpu;
mod gpu;
pub(crate) mod naive;

use crate::cpu::profile;
use crate::error::{Error, Result};
use crate::tensor::{Place, Tensor};

/// Log-probabilities over the last axis of `x` `[.., V]`.
///
/// ```
/// use glimpse::{ops::log_softmax, tensor::Tensor};
/// let y = log_softmax(&Tensor::full(&[1, 4], 3.0))?;
/// assert!(y.data().iter().all(|y| (y + 4f32.ln()).abs() < 1e-6));
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where there is no last axis.
pub fn log_softmax(x: &Tensor) -> Result<Tensor> {
    let _timer = profile::time("log_softmax", x.shape());
    if x.dims().is_empty() {
        return Err(Error::shape("log_softmax", "x [.., V]", x.shape()));
    }
    let place = Place::of(&[x]);
    let y = match &place {
        Place::Naive => naive::forward(x),
        Place::Cpu(isa) => cpu::forward(*isa, x),
        Place::Gpu(gpu) => gpu::forward(gpu, x)?,
    };
    let kept = y.clone();
    y.record(&[x], move |dy, _| {
        let dx = match &place {
            Place::Naive => naive::backward(&kept, dy),
            Place::Cpu(isa) => cpu::backward(*isa, &kept, dy),
            Place::Gpu(gpu) => gpu::backward(gpu, &kept, dy)?,
        };
        Ok(vec![Some(dx)])
    })
}

/// The number of rows of `x` `[.., V]`, and `V`.
fn sizes(x: &Tensor) -> [usize; 2] {
    let classes = x.dims().last().copied().unwrap_or(1);
    [x.len() / classes.max(1), classes]
}

#[cfg(test)]
mod tests;
