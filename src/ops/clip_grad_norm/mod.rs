//! Gradient clipping: scales all gradients so that their norm, taken as one vector, is at most a given number.
//!
//! ```text
//! norm = sqrt(sum over all elements of g^2)
//! g *= min(1, max_norm / (norm + 1e-6))
//! ```
//!
//! This is PyTorch's `clip_grad_norm_`. The sum is taken in `f64`, chunk by chunk, in an order that depends only on the
//! shapes.

mod cpu;
mod gpu;
pub(crate) mod naive;

use crate::cpu::Isa;
use crate::cpu::profile;
use crate::error::{Error, Result};
use crate::tensor::{Device, Tensor};

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
    if let Device::Gpu(gpu) = Device::of(&grads.iter().collect::<Vec<_>>()) {
        return gpu::clip(&gpu, grads, max_norm);
    }
    let isa = Isa::current();
    let (squares, scale) = if isa.is_naive() {
        (
            naive::squares as fn(Isa, &[f32]) -> f64,
            naive::scale as fn(Isa, &mut [f32], f32),
        )
    } else {
        (
            cpu::squares as fn(Isa, &[f32]) -> f64,
            cpu::scale as fn(Isa, &mut [f32], f32),
        )
    };
    let norm = grads
        .iter()
        .map(|g| -> f64 { squares(isa, g.data()) })
        .sum::<f64>()
        .sqrt();
    let factor = f64::from(max_norm) / (norm + 1e-6);
    if norm.is_finite() && factor < 1.0 {
        grads
            .iter_mut()
            .for_each(|g| scale(isa, g.data_mut(), factor as f32));
    }
    Ok(Tensor::scalar(norm as f32))
}

#[cfg(test)]
mod tests;
