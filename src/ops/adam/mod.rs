//! Adam and AdamW, one step of one parameter (Kingma and Ba, 2015; Loshchilov and Hutter, 2019).
//!
//! ```text
//! g = grad + weight_decay param              coupled: Adam
//! param *= 1 - lr weight_decay, g = grad     decoupled: AdamW
//! m = beta1 m + (1 - beta1) g
//! v = beta2 v + (1 - beta2) g^2
//! param -= lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)
//! ```
//!
//! `m` and `v` begin as zeros, and after `t` steps are too small by the factors `1 - beta^t` that the last line
//! divides out. This is PyTorch's `Adam` and `AdamW`.

mod cpu;
pub(crate) mod naive;

use crate::cpu::Isa;
use crate::cpu::profile;
use crate::error::{Error, Result};

/// How to descend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// The learning rate.
    pub lr: f32,
    /// How much of the mean gradient lives on to the next step.
    pub beta1: f32,
    /// How much of the mean squared gradient lives on to the next step.
    pub beta2: f32,
    /// Added to the root, against division by zero.
    pub eps: f32,
    /// How strongly parameters are pulled to zero.
    pub weight_decay: f32,
    /// Pull the parameter itself (AdamW) instead of adding to its gradient (Adam).
    pub decoupled: bool,
}

/// The factors that are the same for all elements of a step.
#[derive(Clone, Copy)]
pub(crate) struct Factors {
    /// What the parameter is multiplied by first.
    shrink: f32,
    /// How much of the parameter is added to its gradient.
    decay: f32,
    /// `lr / (1 - beta1^t)`
    rate: f32,
    /// `1 / sqrt(1 - beta2^t)`
    root: f32,
}

/// Step `step`, counted from 1, in place. `m` and `v` begin as zeros and are kept from step to step.
///
/// ```
/// use glimpse::ops::adam::{self, Adam};
/// let options =
///     Adam { lr: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, decoupled: false };
/// let (mut param, mut m, mut v) = ([1.0], [0.0], [0.0]);
/// adam::step(&mut param, &[123.0], &mut m, &mut v, 1, &options)?;
/// assert!((param[0] - 0.99f32).abs() < 1e-6); // the first step is lr long, whatever the gradient
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where the lengths differ or `step` is 0.
pub fn step(
    param: &mut [f32],
    grad: &[f32],
    m: &mut [f32],
    v: &mut [f32],
    step: u64,
    options: &Adam,
) -> Result<()> {
    let _timer = profile::time("adam", param.len(), 0.0);
    if [grad.len(), m.len(), v.len()]
        .iter()
        .any(|&n| n != param.len())
    {
        let got = format_args!("{}, {} and {}", grad.len(), m.len(), v.len());
        let want = format_args!("a gradient, m and v of {} elements", param.len());
        return Err(Error::shape("adam", want, got));
    }
    if step == 0 {
        return Err(Error::value("adam", "steps are counted from 1"));
    }
    let Adam {
        lr,
        beta1,
        beta2,
        weight_decay,
        decoupled,
        ..
    } = *options;
    let bias = |beta: f32| 1.0 - f64::from(beta).powf(step as f64);
    let factors = Factors {
        shrink: if decoupled {
            1.0 - lr * weight_decay
        } else {
            1.0
        },
        decay: if decoupled { 0.0 } else { weight_decay },
        rate: (f64::from(lr) / bias(beta1)) as f32,
        root: (1.0 / bias(beta2).sqrt()) as f32,
    };
    let isa = Isa::current();
    let step = if isa.is_naive() {
        naive::step
    } else {
        cpu::step
    };
    step(isa, param, grad, [m, v], factors, options);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Level;
    use crate::ops::testing::{assert_close, fixture, on_every_isa, random};

    fn options(weight_decay: f32, decoupled: bool) -> Adam {
        Adam {
            lr: 0.01,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay,
            decoupled,
        }
    }

    #[test]
    fn agrees_with_pytorch() {
        on_every_isa(|| {
            let cases = [
                ("adam", options(0.0, false)),
                ("adam_weight_decay", options(0.05, false)),
                ("adamw", options(0.05, true)),
            ];
            for (name, options) in cases {
                let case = fixture(name);
                let mut param = case.tensor("param");
                let (mut m, mut v) = (vec![0.0; param.len()], vec![0.0; param.len()]);
                for i in 1..=5 {
                    let grad = case.tensor(&format!("grad_{i}"));
                    step(param.data_mut(), grad.data(), &mut m, &mut v, i, &options).unwrap();
                    case.close(&format!("param_{i}"), &param, 1e-6);
                }
            }
        });
    }

    #[test]
    fn any_length_agrees_with_the_definition() {
        for n in [0, 1, 37, 70_001] {
            let run = || {
                let mut p = random(&[n], 1).into_vec();
                let (mut m, mut v) = (random(&[n], 2).into_vec(), vec![0.5; n]);
                let grad = random(&[n], 3);
                step(
                    &mut p,
                    grad.data(),
                    &mut m,
                    &mut v,
                    7,
                    &options(0.1, n == 37),
                )
                .unwrap();
                [p, m, v].concat()
            };
            let want = Isa::new(Level::Naive).unwrap().scope(run);
            on_every_isa(|| assert_close("adam", &run(), &want, 1e-6));
        }
    }

    #[test]
    fn mistakes_are_named() {
        let plain = options(0.0, false);
        assert!(step(&mut [0.0], &[0.0], &mut [0.0], &mut [0.0], 0, &plain).is_err());
        assert!(step(&mut [0.0], &[0.0], &mut [], &mut [0.0], 1, &plain).is_err());
    }
}
