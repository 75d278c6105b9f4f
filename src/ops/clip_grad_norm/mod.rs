//! Gradient clipping: scales all gradients so that their norm, taken as one vector, is at most a given number.
//!
//! ```text
//! norm = sqrt(sum over all elements of g^2)
//! g *= min(1, max_norm / (norm + 1e-6))
//! ```
//!
//! This is PyTorch's `clip_grad_norm_`. The sum is taken chunk by chunk, in `f64` on the CPU and in `f32` on the GPU, in an
//! order that depends only on the shapes.

mod cpu;
mod gpu;
pub(crate) mod naive;

use crate::cpu::profile;
use crate::error::{Error, Result};
use crate::tensor::{Place, Tensor};

/// Scales the gradients so that their common norm is at most `max_norm`; returns the norm before, one number.
///
/// If the norm is infinite or NaN it is returned and nothing is scaled. The caller should then skip the step.
///
/// ```
/// use glimpse::{ops::clip_grad_norm, tensor::Tensor};
/// let mut grads = [Tensor::full(&[1], 3.0), Tensor::from_vec(vec![0.0, 4.0], &[2])?];
/// let norm = clip_grad_norm(&mut grads, 1.0)?;
/// assert_eq!(norm.item()?, 5.0);
/// assert!((grads[0].data()[0] - 0.6).abs() < 1e-6 && (grads[1].data()[1] - 0.8).abs() < 1e-6);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where `max_norm` is negative or not a number.
pub fn clip_grad_norm(grads: &mut [Tensor], max_norm: f32) -> Result<Tensor> {
    let _timer = profile::time("clip_grad_norm", format_args!("{} tensors", grads.len()));
    if max_norm.is_nan() || max_norm < 0.0 {
        let what = format_args!("the largest norm {max_norm} must be at least 0");
        return Err(Error::value("clip_grad_norm", what));
    }
    let place = Place::of(&grads.iter().collect::<Vec<_>>());
    Ok(match &place {
        Place::Naive => naive::forward(grads, max_norm),
        Place::Cpu(isa) => cpu::forward(*isa, grads, max_norm),
        Place::Gpu(gpu) => gpu::forward(gpu, grads, max_norm)?,
    })
}

/// The factor of all gradients, if it is below 1 and the norm is finite.
fn factor(norm: f64, max_norm: f32) -> Option<f32> {
    let factor = f64::from(max_norm) / (norm + 1e-6);
    (norm.is_finite() && factor < 1.0).then_some(factor as f32)
}

#[cfg(test)]
mod tests;
