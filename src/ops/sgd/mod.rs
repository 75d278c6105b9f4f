//! One step of stochastic gradient descent with momentum for all parameters.
//!
//! ```text
//! d = grad + weight_decay param
//! velocity = momentum velocity + d
//! param -= lr d                              without momentum
//! param -= lr velocity                       with it
//! param -= lr (d + momentum velocity)        Nesterov
//! ```
//!
//! This is PyTorch's `SGD` (without dampening). PyTorch sets the first velocity to `d`. Here it starts as zeros, so the
//! second line gives `d` in the first step.

mod cpu;
mod gpu;
pub(crate) mod naive;

use crate::cpu::profile;
use crate::error::{Error, Result};
use crate::tensor::{Place, Tensor};

/// Options of stochastic gradient descent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// The learning rate.
    pub lr: f32,
    /// The factor of the old velocity in the new one; 0 switches momentum off.
    pub momentum: f32,
    /// This multiple of the parameter is added to its gradient.
    pub weight_decay: f32,
    /// Whether the step looks ahead along the velocity (Nesterov).
    pub nesterov: bool,
}

/// A parameter, its gradient, and its velocity; all of one shape.
#[derive(Clone, Debug)]
pub struct Step {
    /// The parameter, which the step updates. It stays the same leaf of the tape.
    pub param: Tensor,
    /// Its gradient.
    pub grad: Tensor,
    /// Its velocity; zeros before the first step.
    pub velocity: Tensor,
    /// Whether weight decay applies to it.
    pub decays: bool,
}

/// The options of one step, and the norm of the gradients.
pub(crate) struct Job<'a> {
    norm: &'a Tensor,
    options: Sgd,
    /// The direction is `gradient_factor d + velocity_factor velocity`: with Nesterov the factors are 1 and `momentum`, else 0
    /// and 1.
    gradient_factor: f32,
    velocity_factor: f32,
}

impl<'a> Job<'a> {
    /// Checks the shapes.
    fn check(all: &[Step], norm: &'a Tensor, options: &Sgd) -> Result<Job<'a>> {
        for Step {
            param,
            grad,
            velocity,
            ..
        } in all
        {
            if grad.dims() != param.dims() || velocity.dims() != param.dims() {
                let got = format_args!("{} and {}", grad.shape(), velocity.shape());
                let want = format_args!("a gradient and a velocity of {}", param.shape());
                return Err(Error::shape("sgd", want, got));
            }
        }
        let [gradient_factor, velocity_factor] = match options.nesterov {
            true => [1.0, options.momentum],
            false => [0.0, 1.0],
        };
        Ok(Job {
            norm,
            options: *options,
            gradient_factor,
            velocity_factor,
        })
    }

    /// The weight decay of a parameter that `decays` or not.
    fn weight_decay(&self, decays: bool) -> f32 {
        if decays {
            self.options.weight_decay
        } else {
            0.0
        }
    }
}

/// Takes one step of all parameters. If the `norm` of their gradients is not finite, nothing changes.
///
/// ```
/// use glimpse::ops::sgd::{self, Sgd, Step};
/// use glimpse::tensor::Tensor;
/// let options = Sgd { lr: 0.1, momentum: 0.9, weight_decay: 0.0, nesterov: false };
/// let (param, grad) = (Tensor::full(&[1], 1.0), Tensor::full(&[1], 1.0));
/// let mut all = [Step { param, grad, velocity: Tensor::zeros(&[1]), decays: false }];
/// let norm = Tensor::scalar(1.0);
/// sgd::step(&mut all, &norm, &options)?;
/// sgd::step(&mut all, &norm, &options)?;
/// assert!((all[0].param.data()[0] - (1.0 - 0.1 - 0.19)).abs() < 1e-6);
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where the shapes differ.
pub fn step(all: &mut [Step], norm: &Tensor, options: &Sgd) -> Result<()> {
    let _timer = profile::time("sgd", format_args!("{} tensors", all.len()));
    let job = Job::check(all, norm, options)?;
    let inputs: Vec<&Tensor> = all.iter().flat_map(|s| [&s.param, &s.grad]).collect();
    match &Place::of(&inputs) {
        Place::Naive => naive::step(&job, all),
        Place::Cpu(isa) => cpu::step(*isa, &job, all),
        Place::Gpu(gpu) => gpu::step(gpu, &job, all),
    }
}

#[cfg(test)]
mod tests;
