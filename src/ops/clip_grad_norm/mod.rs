//! Gradient clipping: all gradients together, seen as one vector, are made no longer than a given length.
//!
//! ```text
//! norm = sqrt(sum over all elements of g^2)
//! g *= min(1, max_norm / (norm + 1e-6))
//! ```
//!
//! This is PyTorch's `clip_grad_norm_`. The sum is taken in `f64`, slice by slice, in an order that depends on
//! the shapes alone.

mod cpu;
pub(crate) mod naive;

use crate::cpu::Isa;
use crate::cpu::profile;
use crate::error::{Error, Result};

/// Scales the gradients so that their common norm is at most `max_norm`, and returns what it was before.
///
/// A norm that is infinite or not a number is returned as it is and nothing is scaled: the caller had better
/// leave this step out.
///
/// ```
/// use glimpse::ops::clip_grad_norm;
/// let (mut a, mut b) = ([3.0], [0.0, 4.0]);
/// let norm = clip_grad_norm(&mut [&mut a[..], &mut b[..]], 1.0)?;
/// assert_eq!(norm, 5.0);
/// assert!((a[0] - 0.6).abs() < 1e-6 && (b[1] - 0.8).abs() < 1e-6);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where `max_norm` is negative or not a number.
pub fn clip_grad_norm(grads: &mut [&mut [f32]], max_norm: f32) -> Result<f64> {
    let _timer = profile::time(
        "clip_grad_norm",
        format_args!("{} tensors", grads.len()),
        0.0,
    );
    if max_norm.is_nan() || max_norm < 0.0 {
        let what = format_args!("the largest norm {max_norm} must be at least 0");
        return Err(Error::value("clip_grad_norm", what));
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
        .map(|g| -> f64 { squares(isa, g) })
        .sum::<f64>()
        .sqrt();
    let factor = f64::from(max_norm) / (norm + 1e-6);
    if norm.is_finite() && factor < 1.0 {
        grads.iter_mut().for_each(|g| scale(isa, g, factor as f32));
    }
    Ok(norm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, fixture, on_every_isa, random};

    #[test]
    fn agrees_with_pytorch() {
        on_every_isa(|| {
            for (name, max_norm) in [("clip_grad_norm", 1.5), ("clip_grad_norm_within", 100.0)] {
                let case = fixture(name);
                let mut grads = [0, 1, 2].map(|i| case.tensor(&format!("grad_{i}")));
                let mut slices: Vec<&mut [f32]> = grads.iter_mut().map(|g| g.data_mut()).collect();
                let norm = clip_grad_norm(&mut slices, max_norm).unwrap();
                assert_close(
                    "norm",
                    &[norm as f32],
                    case.tensor("total_norm").data(),
                    1e-6,
                );
                for (i, grad) in grads.iter().enumerate() {
                    case.close(&format!("clipped_{i}"), grad, 1e-6);
                }
            }
        });
    }

    #[test]
    fn large_gradients_and_mistakes() {
        on_every_isa(|| {
            let mut g = random(&[200_003], 1).into_vec();
            let want = g
                .iter()
                .map(|&g| f64::from(g) * f64::from(g))
                .sum::<f64>()
                .sqrt();
            let norm = clip_grad_norm(&mut [&mut g[..]], 1.0).unwrap();
            assert!((norm - want).abs() < 1e-9 * want);
            assert!((clip_grad_norm(&mut [&mut g[..]], 2.0).unwrap() - 1.0).abs() < 1e-5);
            let mut bad = [f32::NAN, 1.0];
            assert!(clip_grad_norm(&mut [&mut bad[..]], 1.0).unwrap().is_nan());
            assert_eq!(bad[1], 1.0);
        });
        assert!(clip_grad_norm(&mut [], f32::NAN).is_err());
        assert_eq!(clip_grad_norm(&mut [], 1.0).unwrap(), 0.0);
    }
}
