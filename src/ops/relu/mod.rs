//! Rectified linear unit, element by element.
//!
//! ```text
//! y = max(0, x)        dx = dy where x > 0, else 0
//! ```
//!
//! The derivative of `max(0, x)` is 1 for `x > 0` and 0 for `x < 0`. At `x = 0` there is none; as usual it is set to 0.
//! Because `y > 0` exactly where `x > 0`, the gradient needs only the output, which the next operation keeps anyway.

mod cpu;
mod gpu;
pub(crate) mod naive;

use crate::cpu::profile;
use crate::error::Result;
use crate::tensor::{Place, Tensor};

/// `max(0, x)`, of any shape.
///
/// ```
/// use glimpse::{ops::relu, tensor::Tensor};
/// let x = Tensor::from_vec(vec![-1.0, 0.0, 2.0], &[3])?;
/// assert_eq!(relu(&x)?.data(), &[0.0, 0.0, 2.0]);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// On the GPU, where its memory is used up or it no longer answers.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    let _timer = profile::time("relu", x.shape());
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

#[cfg(test)]
mod tests;
