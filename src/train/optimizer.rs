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
    state: Vec<[Tensor; 2]>,
    names: Vec<String>,
    steps: u64,
}

/// A parameter about to be moved, taken out of its module.
struct Moving {
    /// Its number in the order of [`Module::visit`].
    place: usize,
    param: Tensor,
    decays: bool,
}

impl Optimizer {
    /// For the parameters of `module`.
    pub fn new(config: &OptimizerConfig, module: &mut impl Module) -> Self {
        let (mut state, mut names) = (Vec::new(), Vec::new());
        let second = config.kind != OptimizerKind::Sgd;
        module.visit("", &mut |name, role, tensor| {
            if is_moved(role, tensor) {
                let zeros = Tensor::zeros(tensor.dims());
                let second = if second { zeros.clone() } else { nothing() };
                state.push([zeros, second]);
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
    /// Where a gradient is not a finite number; nothing has moved then.
    pub fn step(&mut self, module: &mut impl Module, grads: Gradients, lr: f32) -> Result<f64> {
        let norm = threads::run(|| self.update(module, grads, lr))?.item()?;
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
        Ok(norm.into())
    }

    /// The same without waiting for the norm, which is a tensor of one number.
    fn update(
        &mut self,
        module: &mut impl Module,
        mut grads: Gradients,
        lr: f32,
    ) -> Result<Tensor> {
        let mut place = 0;
        let (mut moving, mut by) = (Vec::new(), Vec::new());
        module.visit("", &mut |_, role, tensor| {
            if !is_moved(role, tensor) {
                return;
            }
            if let Some(grad) = grads.take(tensor) {
                let param = std::mem::replace(tensor, nothing());
                let decays = role == Role::Weight;
                moving.push(Moving {
                    place,
                    param,
                    decays,
                });
                by.push(grad);
            }
            place += 1;
        });
        let norm = self.apply(&mut moving, by, lr);
        // Whatever came of it, they go back to where they were.
        let mut back = moving.into_iter().peekable();
        let mut place = 0;
        module.visit("", &mut |_, role, tensor| {
            let taken = tensor.dims() == [0] && !tensor.is_tracked() && role.is_trained();
            if !taken && !is_moved(role, tensor) {
                return;
            }
            if let Some(moved) = back.next_if(|m| m.place == place) {
                *tensor = moved.param;
            }
            place += 1;
        });
        norm
    }

    /// Clips the gradients, moves the parameters, and returns the norm.
    fn apply(&mut self, moving: &mut [Moving], mut grads: Vec<Tensor>, lr: f32) -> Result<Tensor> {
        let limit = if self.config.clip > 0.0 {
            self.config.clip
        } else {
            f32::MAX
        };
        let norm = clip_grad_norm(&mut grads, limit)?;
        let config = &self.config;
        let take = |t: &mut Tensor| std::mem::replace(t, nothing());
        let each = moving.iter_mut().zip(grads);
        if config.kind == OptimizerKind::Sgd {
            let mut all: Vec<sgd::Step> = each
                .map(|(moving, grad)| sgd::Step {
                    param: take(&mut moving.param),
                    grad,
                    velocity: take(&mut self.state[moving.place][0]),
                    decays: moving.decays,
                })
                .collect();
            let options = Sgd {
                lr,
                momentum: config.momentum,
                weight_decay: config.weight_decay,
                nesterov: false,
            };
            let moved = sgd::step(&mut all, &norm, &options);
            for (moving, step) in moving.iter_mut().zip(all) {
                moving.param = step.param;
                self.state[moving.place][0] = step.velocity;
            }
            return moved.map(|()| norm);
        }
        let mut all: Vec<adam::Step> = each
            .map(|(moving, grad)| {
                let [first, second] = &mut self.state[moving.place];
                adam::Step {
                    param: take(&mut moving.param),
                    grad,
                    m: take(first),
                    v: take(second),
                    decays: moving.decays,
                }
            })
            .collect();
        let [beta1, beta2] = config.betas;
        let options = Adam {
            lr,
            beta1,
            beta2,
            eps: 1e-8,
            weight_decay: config.weight_decay,
            decoupled: config.kind == OptimizerKind::AdamW,
        };
        let moved = adam::step(&mut all, &norm, self.steps + 1, &options);
        for (moving, step) in moving.iter_mut().zip(all) {
            moving.param = step.param;
            self.state[moving.place] = [step.m, step.v];
        }
        moved.map(|()| norm)
    }

    /// What it remembers, as named tensors for a checkpoint.
    ///
    /// # Errors
    /// None for a state that the optimizer made itself.
    pub fn tensors(&self) -> Result<Vec<(String, Tensor)>> {
        let mut all = Vec::new();
        for (name, [first, second]) in self.names.iter().zip(&self.state) {
            for (part, data) in [("first", first), ("second", second)] {
                if !data.is_empty() {
                    let tensor = data.reshape(&[data.len()])?;
                    all.push((format!("optimizer.{part}.{name}"), tensor));
                }
            }
        }
        Ok(all)
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
                *data = tensor.reshape(data.dims()).map_err(|_| {
                    Error::file(
                        file.path(),
                        format_args!("the optimizer's state of `{name}` has another size"),
                    )
                })?;
            }
        }
        self.steps = steps;
        Ok(())
    }
}

/// Whether the optimizer moves a tensor with this role.
fn is_moved(role: Role, tensor: &Tensor) -> bool {
    role.is_trained() && tensor.is_tracked()
}

/// What stands where a tensor was taken away.
fn nothing() -> Tensor {
    Tensor::zeros(&[0])
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
