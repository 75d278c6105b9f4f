//! Moving every parameter by its gradient.

use std::f64::consts::PI;

use super::config::{OptimizerConfig, OptimizerKind};
use crate::cpu::threads;
use crate::data::weights::WeightFile;
use crate::error::{Error, Result};
use crate::nn::{Module, Role};
use crate::ops::adam::{self, Adam};
use crate::ops::clip_grad_norm;
use crate::ops::sgd::{self, Sgd};
use crate::tensor::{Gradients, Tensor};

/// An optimizer and what it remembers of each parameter.
pub struct Optimizer {
    config: OptimizerConfig,
    /// For each parameter in the order of [`Module::visit`]: momentum, and for Adam the second moment.
    state: Vec<[Vec<f32>; 2]>,
    names: Vec<String>,
    steps: u64,
}

impl Optimizer {
    /// For the parameters of `module`.
    pub fn new(config: &OptimizerConfig, module: &mut impl Module) -> Self {
        let (mut state, mut names) = (Vec::new(), Vec::new());
        let second = config.kind != OptimizerKind::Sgd;
        module.visit("", &mut |name, role, tensor| {
            if role.is_trained() && tensor.is_tracked() {
                let empty = if second {
                    vec![0.0; tensor.len()]
                } else {
                    Vec::new()
                };
                state.push([vec![0.0; tensor.len()], empty]);
                names.push(name.to_string());
            }
        });
        Optimizer {
            config: config.clone(),
            state,
            names,
            steps: 0,
        }
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Moves every tracked parameter of `module` by its gradient, at learning rate `lr`, and returns the norm
    /// that the gradients had before clipping.
    ///
    /// # Errors
    /// Where a gradient is not a finite number.
    pub fn step(&mut self, module: &mut impl Module, grads: Gradients, lr: f32) -> Result<f64> {
        threads::run(|| self.update(module, grads, lr))
    }

    fn update(&mut self, module: &mut impl Module, mut grads: Gradients, lr: f32) -> Result<f64> {
        let mut gathered: Vec<Option<Tensor>> = Vec::with_capacity(self.state.len());
        module.visit("", &mut |_, role, tensor| {
            if role.is_trained() && tensor.is_tracked() {
                gathered.push(grads.take(tensor));
            }
        });
        assert_eq!(
            gathered.len(),
            self.state.len(),
            "the module has other parameters than before"
        );
        let mut slices: Vec<&mut [f32]> = gathered
            .iter_mut()
            .flatten()
            .map(Tensor::data_mut)
            .collect();
        let limit = if self.config.clip > 0.0 {
            self.config.clip
        } else {
            f32::MAX
        };
        let norm = clip_grad_norm(&mut slices, limit)?;
        if !norm.is_finite() {
            return Err(Error::value(
                "train",
                format_args!(
                    "the gradient is not a finite number after step {}; try a lower learning rate",
                    self.steps
                ),
            ));
        }
        self.steps += 1;
        let mut each = self.state.iter_mut().zip(gathered);
        let (config, steps) = (&self.config, self.steps);
        let mut result = Ok(());
        module.visit("", &mut |_, role, tensor| {
            if !(role.is_trained() && tensor.is_tracked()) {
                return;
            }
            let Some(([first, second], Some(grad))) = each.next() else {
                return;
            };
            let weight_decay = if role == Role::Weight {
                config.weight_decay
            } else {
                0.0
            };
            let [beta1, beta2] = config.betas;
            let moved = match config.kind {
                OptimizerKind::Sgd => {
                    let options = Sgd {
                        lr,
                        momentum: config.momentum,
                        weight_decay,
                        nesterov: false,
                    };
                    sgd::step(tensor.data_mut(), grad.data(), first, &options)
                }
                kind => {
                    let decoupled = kind == OptimizerKind::AdamW;
                    let options = Adam {
                        lr,
                        beta1,
                        beta2,
                        eps: 1e-8,
                        weight_decay,
                        decoupled,
                    };
                    adam::step(
                        tensor.data_mut(),
                        grad.data(),
                        first,
                        second,
                        steps,
                        &options,
                    )
                }
            };
            if let Err(e) = moved {
                result = Err(e);
            }
        });
        result.map(|()| norm)
    }

    /// What it remembers, as named tensors for a checkpoint.
    pub fn tensors(&self) -> Vec<(String, Tensor)> {
        let mut all = Vec::new();
        for (name, [first, second]) in self.names.iter().zip(&self.state) {
            for (part, data) in [("first", first), ("second", second)] {
                if !data.is_empty() {
                    let tensor = Tensor::computed(data.clone(), &[data.len()]);
                    all.push((format!("optimizer.{part}.{name}"), tensor));
                }
            }
        }
        all
    }

    /// Takes up what a checkpoint holds, after `steps` steps.
    ///
    /// # Errors
    /// Where it does not fit.
    pub fn restore(&mut self, file: &WeightFile, steps: u64) -> Result<()> {
        for (name, state) in self.names.iter().zip(&mut self.state) {
            for (part, data) in ["first", "second"].into_iter().zip(state) {
                if data.is_empty() {
                    continue;
                }
                let tensor = file.tensor(&format!("optimizer.{part}.{name}"))?;
                if tensor.len() != data.len() {
                    return Err(Error::file(
                        file.path(),
                        format_args!("the optimizer's state of `{name}` has another size"),
                    ));
                }
                *data = tensor.into_vec();
            }
        }
        self.steps = steps;
        Ok(())
    }
}

/// The learning rate of step `step` (from 0) of `total`: up a straight line during the warm-up, then down a
/// cosine to zero (Loshchilov and Hutter, 2017, arXiv 1608.03983).
pub fn learning_rate(config: &OptimizerConfig, step: u64, total: u64) -> f32 {
    let warm = (config.warmup * total as f64).floor();
    let step = step as f64;
    let share = if step < warm {
        (step + 1.0) / warm
    } else {
        let gone = (step - warm) / (total as f64 - warm).max(1.0);
        0.5 * (1.0 + (PI * gone.min(1.0)).cos())
    };
    (f64::from(config.lr) * share) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_learning_rate_rises_and_falls() {
        let config = OptimizerConfig {
            lr: 1.0,
            warmup: 0.1,
            ..Default::default()
        };
        let at = |step| learning_rate(&config, step, 100);
        assert!((at(0) - 0.1).abs() < 1e-6);
        assert!((at(9) - 1.0).abs() < 1e-6);
        assert!((at(55) - 0.5).abs() < 1e-6);
        assert!(at(99) < 1e-3 && at(99) > 0.0);
        assert!((10..99).all(|s| at(s) > at(s + 1)));
        let none = OptimizerConfig {
            warmup: 0.0,
            ..config
        };
        assert_eq!(learning_rate(&none, 0, 10), 1.0);
    }
}
