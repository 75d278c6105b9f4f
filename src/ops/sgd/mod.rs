//! Stochastic gradient descent with momentum, one step of one parameter.
//!
//! ```text
//! d = grad + weight_decay param
//! velocity = momentum velocity + d
//! param -= lr d                              without momentum
//! param -= lr velocity                       with it
//! param -= lr (d + momentum velocity)        Nesterov
//! ```
//!
//! This is PyTorch's `SGD` (without dampening). There the first velocity is `d` itself, which is what a velocity
//! of zeros becomes.

mod cpu;
pub(crate) mod naive;

use crate::cpu::Isa;
use crate::cpu::profile;
use crate::error::{Error, Result};

/// How to descend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// The learning rate.
    pub lr: f32,
    /// How much of the velocity lives on to the next step.
    pub momentum: f32,
    /// How much of the parameter is added to its gradient.
    pub weight_decay: f32,
    /// Look ahead along the velocity.
    pub nesterov: bool,
}

/// One step, in place. `velocity` begins as zeros and is kept from step to step.
///
/// ```
/// use glimpse::ops::sgd::{self, Sgd};
/// let options = Sgd { lr: 0.1, momentum: 0.9, weight_decay: 0.0, nesterov: false };
/// let (mut param, mut velocity) = ([1.0], [0.0]);
/// sgd::step(&mut param, &[1.0], &mut velocity, &options)?;
/// sgd::step(&mut param, &[1.0], &mut velocity, &options)?;
/// assert!((param[0] - (1.0 - 0.1 - 0.19f32)).abs() < 1e-6);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where the lengths differ.
pub fn step(param: &mut [f32], grad: &[f32], velocity: &mut [f32], options: &Sgd) -> Result<()> {
    let _timer = profile::time("sgd", param.len(), 0.0);
    if grad.len() != param.len() || velocity.len() != param.len() {
        let got = format_args!("{} and {}", grad.len(), velocity.len());
        let want = format_args!("a gradient and a velocity of {} elements", param.len());
        return Err(Error::shape("sgd", want, got));
    }
    let isa = Isa::current();
    let step = if isa.is_naive() {
        naive::step
    } else {
        cpu::step
    };
    step(isa, param, grad, velocity, options);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Level;
    use crate::ops::testing::{assert_close, fixture, on_every_isa, random};

    #[test]
    fn agrees_with_pytorch() {
        on_every_isa(|| {
            for (name, nesterov) in [("sgd_momentum", false), ("sgd_nesterov", true)] {
                let options = Sgd {
                    lr: 0.1,
                    momentum: 0.9,
                    weight_decay: 0.01,
                    nesterov,
                };
                let case = fixture(name);
                let mut param = case.tensor("param");
                let mut velocity = vec![0.0; param.len()];
                for i in 1..=5 {
                    let grad = case.tensor(&format!("grad_{i}"));
                    step(param.data_mut(), grad.data(), &mut velocity, &options).unwrap();
                    case.close(&format!("param_{i}"), &param, 1e-6);
                }
            }
        });
    }

    #[test]
    fn any_length_agrees_with_the_definition() {
        for (n, momentum) in [(0, 0.9), (1, 0.0), (37, 0.9), (70_001, 0.5)] {
            let options = Sgd {
                lr: 0.1,
                momentum,
                weight_decay: 0.1,
                nesterov: n == 37,
            };
            let run = || {
                let (mut p, mut v) = (random(&[n], 1).into_vec(), random(&[n], 2).into_vec());
                step(&mut p, random(&[n], 3).data(), &mut v, &options).unwrap();
                [p, v].concat()
            };
            let want = Isa::new(Level::Naive).unwrap().scope(run);
            on_every_isa(|| assert_close("sgd", &run(), &want, 1e-6));
        }
        let options = Sgd {
            lr: 0.1,
            momentum: 0.9,
            weight_decay: 0.0,
            nesterov: false,
        };
        assert!(step(&mut [0.0], &[0.0, 1.0], &mut [0.0], &options).is_err());
    }
}
