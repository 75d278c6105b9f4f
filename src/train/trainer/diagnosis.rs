//! The search for the first tensor that is not finite, after a step has failed.
//!
//! A step is a function of the parameters, the seed and the step's number, and a failed step changes no parameter. The
//! step can therefore be repeated, and this time every intermediate tensor is examined in the order of computation.

use super::Trainer;
use crate::error::{Error, Result};
use crate::nn::Module;
use crate::tensor::Tensor;

fn is_finite(tensor: &Tensor) -> bool {
    tensor.data().iter().all(|x| x.is_finite())
}

impl Trainer {
    /// Returns the error of step `step` (from 0), whose loss or gradients are not finite.
    pub(super) fn diagnose(&mut self, step: u64) -> Error {
        let culprit = match self.culprit(step) {
            Ok(culprit) => culprit,
            Err(error) => return error,
        };
        Error::value(
            "train",
            format_args!(
                "{culprit} is not finite at step {}; the parameters and the last checkpoint are as they were; try a \
                 lower learning rate, or a lower optimizer.clip",
                step + 1
            ),
        )
    }

    /// Returns the name of the first tensor that is not finite.
    fn culprit(&mut self, step: u64) -> Result<String> {
        let mut found = None;
        self.work.visit("", &mut |name, _, tensor| {
            if found.is_none() && !is_finite(tensor) {
                found = Some(format!("the parameter `{name}`"));
            }
        });
        if let Some(name) = found {
            return Ok(name);
        }
        let image = self.work.image(&self.config, step)?;
        if !is_finite(&image) {
            return Ok("the tensor of image features".into());
        }
        let terms = self.terms(step)?;
        let loss = ("loss".to_string(), terms.total.detach());
        for (name, value) in terms.parts.iter().chain([&loss]) {
            if !is_finite(value) {
                return Ok(format!("the {}", name.replace('_', " ")));
            }
        }
        let grads = terms.total.backward()?;
        self.work.visit("", &mut |name, _, tensor| {
            if found.is_none() && grads.get(tensor).is_some_and(|grad| !is_finite(grad)) {
                found = Some(format!("the gradient with respect to `{name}`"));
            }
        });
        Ok(found.unwrap_or_else(|| "the norm of the gradients".into()))
    }
}
