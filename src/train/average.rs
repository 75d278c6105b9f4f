//! The exponential moving average of the parameters (Polyak and Juditsky, 1992; for neural networks, Tarvainen and
//! Valpola, 2017, arXiv 1703.01780).
//!
//! ```text
//! average' = d average + (1 - d) parameter            d = min(decay, (1 + k) / (10 + k)) in step k (from 0)
//! ```
//!
//! The average is smoother than the last step's parameters and generalises better. Its decay is small at first, which
//! removes the random initialisation quickly. An update is a step of gradient descent on `|average - parameter|^2 / 2`
//! with learning rate `1 - d`. The kernel of [`ops::sgd`](crate::ops::sgd) therefore computes it for all parameters in
//! one dispatch.

use std::collections::HashMap;

use crate::data::weights::WeightFile;
use crate::error::{Error, Result};
use crate::nn::Module;
use crate::ops::sgd::{self, Sgd};
use crate::tensor::Tensor;

/// The moving average of every tracked parameter of a module.
pub struct Average {
    decay: f32,
    names: Vec<String>,
    values: Vec<Tensor>,
    /// Velocities for the SGD kernel, which writes them even when momentum is 0.
    velocities: Vec<Tensor>,
}

impl Average {
    /// Creates an average that starts at the parameters of `module`. `decay` is in `(0, 1)`.
    pub fn new(decay: f32, module: &mut impl Module) -> Self {
        let (mut names, mut values) = (Vec::new(), Vec::new());
        module.visit("", &mut |name, role, tensor| {
            if role.is_trained() && tensor.is_tracked() {
                names.push(name.to_string());
                values.push(tensor.detach());
            }
        });
        Average {
            decay,
            names,
            velocities: values.iter().map(|v| Tensor::zeros(v.dims())).collect(),
            values,
        }
    }

    /// Moves the average towards the parameters of `module`. `steps` counts the steps before the one just taken.
    ///
    /// # Errors
    /// Fails if the GPU has no memory left, or `module` lacks a parameter.
    pub fn update(&mut self, module: &mut impl Module, steps: u64) -> Result<()> {
        let early = (1.0 + steps as f32) / (10.0 + steps as f32);
        let share = 1.0 - self.decay.min(early);
        let mut parameters = HashMap::new();
        module.visit("", &mut |name, _, tensor| {
            parameters.insert(name.to_string(), tensor.detach());
        });
        let averages = std::mem::take(&mut self.values).into_iter();
        let averages = averages.zip(std::mem::take(&mut self.velocities));
        let mut all: Vec<sgd::Step> = Vec::with_capacity(self.names.len());
        for (name, (average, velocity)) in self.names.iter().zip(averages) {
            let parameter = parameters.remove(name).ok_or_else(|| {
                Error::value("average", format_args!("parameter `{name}` has vanished"))
            })?;
            all.push(sgd::Step {
                param: average,
                grad: parameter,
                velocity,
                decays: true,
            });
        }
        // SGD computes param -= lr (grad + weight_decay param). With lr = -share and weight_decay = -1 this is
        // average += share (parameter - average).
        let options = Sgd {
            lr: -share,
            momentum: 0.0,
            weight_decay: -1.0,
            nesterov: false,
        };
        let moved = sgd::step(&mut all, &Tensor::scalar(1.0), &options);
        (self.values, self.velocities) = all
            .into_iter()
            .map(|step| (step.param, step.velocity))
            .unzip();
        moved
    }

    /// Exchanges the averages and the parameters of `module`. A second call restores the first state, except for
    /// tracking: the parameters are untracked after the first call, and the caller tracks them again after the second.
    pub fn swap(&mut self, module: &mut impl Module) {
        let mut values: HashMap<&str, &mut Tensor> = self
            .names
            .iter()
            .map(String::as_str)
            .zip(&mut self.values)
            .collect();
        module.visit("", &mut |name, _, tensor| {
            if let Some(average) = values.get_mut(name) {
                let parameter = tensor.detach();
                *tensor = std::mem::replace(*average, parameter);
            }
        });
    }

    /// Returns the averages as named tensors for a checkpoint.
    pub fn tensors(&self) -> Vec<(String, Tensor)> {
        let named = self.names.iter().zip(&self.values);
        named
            .map(|(name, value)| (format!("average.{name}"), value.clone()))
            .collect()
    }

    /// Restores the averages from a checkpoint.
    ///
    /// # Errors
    /// Fails if an average is missing or has another shape.
    pub fn restore(&mut self, file: &WeightFile) -> Result<()> {
        for (name, value) in self.names.iter().zip(&mut self.values) {
            let device = crate::tensor::Device::of(&[&*value]);
            let stored = file.tensor(&format!("average.{name}"))?;
            *value = stored
                .reshape(value.dims())
                .map_err(|_| {
                    Error::file(
                        file.path(),
                        format_args!("the average of `{name}` has another shape"),
                    )
                })?
                .to(&device)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Role;
    use crate::ops::testing::{assert_close, here, on_every_device};

    struct One(Tensor);

    impl Module for One {
        fn visit(&mut self, prefix: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
            f(&format!("{prefix}bias"), Role::Offset, &mut self.0);
        }
    }

    #[test]
    fn it_follows_the_parameters() {
        on_every_device(|| {
            let mut one = One(here(Tensor::full(&[3], 1.0)).tracked());
            let mut average = Average::new(0.9, &mut one);
            one.0 = here(Tensor::full(&[3], 2.0)).tracked();
            // Late in a run the decay is the configured one.
            average.update(&mut one, 10_000).unwrap();
            assert_close("late", average.values[0].data(), &[1.1; 3], 1e-6);
            // At step 0 it is 1/10.
            average.update(&mut one, 0).unwrap();
            assert_close("early", average.values[0].data(), &[1.91; 3], 1e-6);
            average.swap(&mut one);
            assert_close("swapped", one.0.data(), &[1.91; 3], 1e-6);
            average.swap(&mut one);
            assert_close("back", one.0.data(), &[2.0; 3], 1e-9);
        });
    }
}
