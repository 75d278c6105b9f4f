//! Checks the gradients of an operation by difference quotients.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Tensor;
use crate::error::{Error, Result};

/// The step along a direction: small against the curvature of usual functions, large against the rounding of `f32`.
const STEP: f32 = 1.0 / 256.0;
/// The directions that each input is moved in.
const DIRECTIONS: usize = 4;
/// The allowed distance, relative to the largest of three numbers: the length of the gradient, the derivative along the
/// direction, and [`LEAST_LENGTH`].
const TOLERANCE: f64 = 5e-3;
const LEAST_LENGTH: f64 = 0.4;
/// From this number of elements on, a direction moves only about half of them. So a kink near one element disturbs only
/// some of the directions.
const FEW: usize = 4;

/// Compares the gradients of the operation `f` with central differences.
///
/// The output is reduced to one number `L = <u, f(x)>` by random numbers `u`. For random directions `d` of each input, the
/// derivative along `d` can then be computed in two ways:
///
/// ```text
/// <dL/dx, d>  =  (L(x + h d) - L(x - h d)) / 2h        h = 1/256
/// ```
///
/// Both must agree within 0.5 % of the length of `dL/dx` or of the derivative, or within 0.002 where these are small. So
/// mistakes are found only in gradients that are larger than that. Inputs of about 1 suit the step. The fewer elements
/// the inputs have, the more sensitive is the test. If the function has kinks, as ReLU has at 0, keep the inputs away
/// from them.
///
/// ```
/// use glimpse::{ops, tensor::{Tensor, check_gradients}};
/// let x = Tensor::from_vec(vec![0.5, -1.5, 2.0], &[3])?;
/// check_gradients(&[x], |inputs| ops::tanh(&inputs[0]))?;
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// If a gradient is missing, has another shape than its input, or disagrees; the message names the input and both numbers.
/// Also if `f` fails.
pub fn check_gradients(inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Result<Tensor>) -> Result<()> {
    let wrong = |what: String| Error::value("check_gradients", what);
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let leaves: Vec<Tensor> = inputs.iter().map(|x| x.detach().tracked()).collect();
    let output = f(&leaves)?;
    let weights = Tensor::from_vec(numbers(&mut random, output.len()), output.dims())?;
    let gradients = output.backward_from(&weights.to(&output.device())?)?;
    for (i, input) in inputs.iter().enumerate() {
        let Some(gradient) = gradients.get(&leaves[i]) else {
            return Err(wrong(format!("input {i} has no gradient")));
        };
        if gradient.dims() != input.dims() {
            let (got, want) = (gradient.shape(), input.shape());
            return Err(wrong(format!(
                "input {i} is {want}, but its gradient is {got}"
            )));
        }
        for _ in 0..DIRECTIONS {
            let mut direction = numbers(&mut random, input.len());
            if input.len() >= FEW {
                let kept = numbers(&mut random, input.len());
                let pairs = direction.iter_mut().zip(kept);
                pairs
                    .filter(|(_, kept)| *kept <= 0.0)
                    .for_each(|(d, _)| *d = 0.0);
            }
            let at = |sign: f32| -> Result<f64> {
                let moved = input.data().iter().zip(&direction);
                let moved = moved.map(|(x, d)| x + sign * STEP * d).collect();
                let mut all: Vec<Tensor> = inputs.iter().map(Tensor::detach).collect();
                all[i] = Tensor::from_vec(moved, input.dims())?.to(&input.device())?;
                let moved = f(&all)?;
                if moved.dims() != weights.dims() {
                    let (before, now) = (weights.shape(), moved.shape());
                    return Err(wrong(format!("the output is {before}, then {now}")));
                }
                Ok(product(moved.data(), weights.data()))
            };
            let quotient = (at(1.0)? - at(-1.0)?) / (2.0 * f64::from(STEP));
            let exact = product(gradient.data(), &direction);
            let length = product(gradient.data(), gradient.data()).sqrt();
            let allowed = TOLERANCE * length.max(LEAST_LENGTH).max(exact.abs());
            // False also for a quotient that is NaN.
            let agrees = (quotient - exact).abs() <= allowed;
            if !agrees {
                return Err(wrong(format!(
                    "input {i}: the difference quotient is {quotient:.4}, but the gradient says {exact:.4}"
                )));
            }
        }
    }
    Ok(())
}

/// Uniform random numbers in `[-1, 1)`.
fn numbers(random: &mut ChaCha8Rng, count: usize) -> Vec<f32> {
    let number = |_| random.random::<f32>() * 2.0 - 1.0;
    (0..count).map(number).collect()
}

/// The scalar product, summed in `f64`.
fn product(a: &[f32], b: &[f32]) -> f64 {
    let pairs = a.iter().zip(b);
    pairs.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computes `x^2`. Its backward pass returns `factor x dy`, which is the gradient if `factor` is 2.
    fn square(x: &Tensor, factor: f32) -> Result<Tensor> {
        let kept = x.detach();
        let y = x.data().iter().map(|x| x * x).collect();
        Tensor::from_vec(y, x.dims())?.record(&[x], move |dy, _| {
            let pairs = kept.data().iter().zip(dy.data());
            let dx = pairs.map(|(x, dy)| factor * x * dy).collect();
            Ok(vec![Some(Tensor::from_vec(dx, kept.dims())?)])
        })
    }

    #[test]
    fn a_right_gradient_passes_and_wrong_ones_do_not() {
        let x = Tensor::from_vec(vec![0.5, -1.5, 2.0, 1.0], &[2, 2]).unwrap();
        let check =
            |factor: f32| check_gradients(std::slice::from_ref(&x), |all| square(&all[0], factor));
        check(2.0).unwrap();
        for factor in [1.95, 1.0, 0.0, -2.0, f32::NAN] {
            let text = check(factor).unwrap_err().to_string();
            assert!(text.contains("input 0: the difference quotient"), "{text}");
        }
    }

    #[test]
    fn a_gradient_that_is_missing_or_of_another_shape_is_named() {
        let x = Tensor::full(&[3], 0.5);
        let first = |all: &[Tensor]| square(&all[0], 2.0);
        let text = check_gradients(&[x.clone(), x.clone()], first).unwrap_err();
        assert!(
            text.to_string().contains("input 1 has no gradient"),
            "{text}"
        );
        let flat = |all: &[Tensor]| {
            let y = Tensor::scalar(all[0].data().iter().sum());
            y.record(&[&all[0]], |dy, _| Ok(vec![Some(dy.clone())]))
        };
        let text = check_gradients(&[x], flat).unwrap_err().to_string();
        assert!(
            text.contains("input 0 is [3], but its gradient is"),
            "{text}"
        );
    }
}
