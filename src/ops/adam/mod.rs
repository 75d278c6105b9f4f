//! One step of Adam or AdamW for all parameters (Kingma and Ba, 2015; Loshchilov and Hutter, 2019).
//!
//! ```text
//! g = grad + weight_decay param              coupled: Adam
//! param *= 1 - lr weight_decay, g = grad     decoupled: AdamW
//! m = beta1 m + (1 - beta1) g
//! v = beta2 v + (1 - beta2) g^2
//! param -= lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)
//! ```
//!
//! where `t` is the number of the step, counted from 1. `m` and `v` start as zeros. After `t` steps, `m` is a weighted
//! sum of the gradients: that of step `i` has the weight `(1 - beta1) beta1^(t - i)`. The weights sum to `1 - beta1^t`
//! instead of 1. `v` is such a sum of the squares `g^2`, with `beta2`. The last line divides by the sums of the weights.
//! This is PyTorch's `Adam` and `AdamW`.

mod cpu;
mod gpu;
pub(crate) mod naive;

use crate::cpu::profile;
use crate::error::{Error, Result};
use crate::tensor::{Place, Tensor};

/// Options of Adam.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// The learning rate.
    pub lr: f32,
    /// The factor of the old mean gradient in the update of `m`.
    pub beta1: f32,
    /// The factor of the old mean squared gradient in the update of `v`.
    pub beta2: f32,
    /// Added to the root, against division by zero.
    pub eps: f32,
    /// The factor of weight decay, which shrinks parameters; 0 switches it off.
    pub weight_decay: f32,
    /// Whether the decay shrinks the parameter itself (AdamW) instead of adding to its gradient (Adam).
    pub decoupled: bool,
}

/// A parameter, its gradient, and the running means over earlier gradients; all of one shape.
#[derive(Clone, Debug)]
pub struct Step {
    /// The parameter, which the step updates. It stays the same leaf of the tape.
    pub param: Tensor,
    /// Its gradient.
    pub grad: Tensor,
    /// The mean gradient; zeros before the first step.
    pub m: Tensor,
    /// The mean squared gradient; zeros before the first step.
    pub v: Tensor,
    /// Whether weight decay applies to it.
    pub decays: bool,
}

/// The factors of one step, and the norm of the gradients.
pub(crate) struct Job<'a> {
    norm: &'a Tensor,
    options: Adam,
    /// `1 - lr weight_decay` if decoupled, else 1: parameters with weight decay are multiplied by it.
    shrink: f32,
    /// `weight_decay` if coupled, else 0: this multiple of a parameter with weight decay is added to its gradient.
    decay: f32,
    /// `lr / (1 - beta1^t)`
    rate: f32,
    /// `1 / sqrt(1 - beta2^t)`
    root: f32,
}

impl<'a> Job<'a> {
    /// Checks the shapes and the number of the step.
    fn check(all: &[Step], norm: &'a Tensor, step: u64, options: &Adam) -> Result<Job<'a>> {
        for Step {
            param, grad, m, v, ..
        } in all
        {
            if [grad, m, v].iter().any(|t| t.dims() != param.dims()) {
                let got = format_args!("{}, {} and {}", grad.shape(), m.shape(), v.shape());
                let want = format_args!("a gradient, m and v of {}", param.shape());
                return Err(Error::shape("adam", want, got));
            }
        }
        if step == 0 {
            return Err(Error::value("adam", "steps are counted from 1"));
        }
        let bias = |beta: f32| 1.0 - f64::from(beta).powf(step as f64);
        let [shrink, decay] = match options.decoupled {
            true => [1.0 - options.lr * options.weight_decay, 0.0],
            false => [1.0, options.weight_decay],
        };
        Ok(Job {
            norm,
            options: *options,
            shrink,
            decay,
            rate: (f64::from(options.lr) / bias(options.beta1)) as f32,
            root: (1.0 / bias(options.beta2).sqrt()) as f32,
        })
    }

    /// `shrink` and `decay` of a parameter that `decays` or not.
    fn decay_of(&self, decays: bool) -> [f32; 2] {
        match decays {
            true => [self.shrink, self.decay],
            false => [1.0, 0.0],
        }
    }
}

/// Takes step number `step`, counted from 1, of all parameters. If the `norm` of their gradients is not finite, nothing
/// changes.
///
/// On the GPU this is one dispatch for as many parameters as one buffer holds. Afterwards they are contiguous in that
/// buffer.
///
/// ```
/// use glimpse::ops::adam::{self, Adam, Step};
/// use glimpse::tensor::Tensor;
/// let options =
///     Adam { lr: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, decoupled: false };
/// let [m, v] = [Tensor::zeros(&[1]), Tensor::zeros(&[1])];
/// let (param, grad) = (Tensor::full(&[1], 1.0), Tensor::full(&[1], 123.0));
/// let mut all = [Step { param, grad, m, v, decays: true }];
/// adam::step(&mut all, &Tensor::scalar(123.0), 1, &options)?;
/// assert!((all[0].param.data()[0] - 0.99).abs() < 1e-6); // the first step is lr long, whatever the gradient
/// # Ok::<(), glimpse::error::Error>(())
/// ```
///
/// # Errors
/// Where the shapes differ or `step` is 0.
pub fn step(all: &mut [Step], norm: &Tensor, step: u64, options: &Adam) -> Result<()> {
    let _timer = profile::time("adam", format_args!("{} tensors", all.len()));
    let job = Job::check(all, norm, step, options)?;
    let inputs: Vec<&Tensor> = all.iter().flat_map(|s| [&s.param, &s.grad]).collect();
    match &Place::of(&inputs) {
        Place::Naive => naive::step(&job, all),
        Place::Cpu(isa) => cpu::step(*isa, &job, all),
        Place::Gpu(gpu) => gpu::step(gpu, &job, all),
    }
}

#[cfg(test)]
mod tests;
