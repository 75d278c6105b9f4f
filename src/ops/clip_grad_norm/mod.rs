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
    let _timer = profile::time(
        "clip_grad_norm",
        format_args!("{} tensors", grads.len()),
        0.0,
    );
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
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, fixture, here, on_every_device, random};

    #[test]
    fn agrees_with_pytorch() {
        on_every_device(|| {
            for (name, max_norm) in [("clip_grad_norm", 1.5), ("clip_grad_norm_within", 100.0)] {
                let case = fixture(name);
                let mut grads = [0, 1, 2].map(|i| case.tensor(&format!("grad_{i}")));
                let norm = clip_grad_norm(&mut grads, max_norm).unwrap();
                assert_close("norm", norm.data(), case.tensor("total_norm").data(), 1e-6);
                for (i, grad) in grads.iter().enumerate() {
                    case.close(&format!("clipped_{i}"), grad, 1e-6);
                }
            }
        });
    }

    #[test]
    fn large_gradients_and_mistakes() {
        on_every_device(|| {
            let mut g = [random(&[200_003], 1), random(&[1], 2), random(&[0], 3)];
            let all = g.iter().flat_map(|t| t.data().to_vec());
            let want = all.map(|g| f64::from(g) * f64::from(g)).sum::<f64>().sqrt();
            let norm = clip_grad_norm(&mut g, 1.0).unwrap().item().unwrap();
            assert!((f64::from(norm) - want).abs() < 1e-6 * want);
            assert!((clip_grad_norm(&mut g, 2.0).unwrap().item().unwrap() - 1.0).abs() < 1e-5);
            let bad = Tensor::from_vec(vec![f32::NAN, 1.0], &[2]).unwrap();
            let mut bad = [here(bad)];
            let norm = clip_grad_norm(&mut bad, 1e-3).unwrap();
            assert!(norm.item().unwrap().is_nan());
            assert_eq!(bad[0].data()[1], 1.0);
        });
        assert!(clip_grad_norm(&mut [], f32::NAN).is_err());
        assert_eq!(clip_grad_norm(&mut [], 1.0).unwrap().item().unwrap(), 0.0);
    }
}
