//! The optimizer step: updates every parameter by its gradient.

use super::config::{OptimizerConfig, OptimizerKind};
use super::schedule::learning_rate;
use crate::cpu::threads;
use crate::data::weights::WeightFile;
use crate::error::{Error, Result};
use crate::nn::{Module, Role};
use crate::ops::adam::{self, Adam};
use crate::ops::clip_grad_norm;
use crate::ops::sgd::{self, Sgd};
use crate::tensor::{Device, Gradients, Tensor};

/// An optimizer and its state for each parameter.
pub struct Optimizer {
    config: OptimizerConfig,
    /// Learning rate and weight decay of each parameter group.
    groups: Vec<GroupSettings>,
    /// For each parameter in the order of [`Module::visit`]: the momentum, and for Adam the second moment.
    state: Vec<[Tensor; 2]>,
    names: Vec<String>,
    /// Index of each parameter's group.
    group_of: Vec<usize>,
    steps: u64,
}

/// Learning rate and weight decay of a parameter group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupSettings {
    /// The learning rate after warm-up.
    pub lr: f32,
    /// Weight decay of matrices and kernels.
    pub weight_decay: f32,
}

impl GroupSettings {
    /// Returns the configuration's default for all parameters.
    pub fn of(config: &OptimizerConfig) -> Self {
        GroupSettings {
            lr: config.lr,
            weight_decay: config.weight_decay,
        }
    }
}

/// A parameter taken out of its module for the update.
struct TakenParameter {
    /// Index in the order of [`Module::visit`].
    index: usize,
    group: usize,
    param: Tensor,
    decays: bool,
}

/// A parameter and its state before the update.
type Before = (Tensor, [Tensor; 2]);

impl Optimizer {
    /// Creates the optimizer of `module`, with the learning rate and weight decay of `config` for all parameters.
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
            groups: vec![GroupSettings::of(config)],
            group_of: vec![0; names.len()],
            state,
            names,
            steps: 0,
        }
    }

    /// Sets the learning rate and weight decay of all parameters whose names begin with `prefix`. Gradient clipping still
    /// uses the norm over all parameters.
    pub fn set_group(&mut self, prefix: &str, settings: GroupSettings) {
        for (group, name) in self.group_of.iter_mut().zip(&self.names) {
            if name.starts_with(prefix) {
                *group = self.groups.len();
            }
        }
        self.groups.push(settings);
    }

    /// Returns the number of steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Updates every tracked parameter of `module` by its gradient, at the `share` of its learning rate given by the
    /// [schedule](super::schedule::schedule). Returns the norm of the gradients before clipping.
    ///
    /// # Errors
    /// Fails if a gradient is not finite, or a GPU has no memory left. No parameter has changed then.
    pub fn step(&mut self, module: &mut impl Module, grads: Gradients, share: f64) -> Result<f64> {
        let norm = threads::run(|| self.update(module, grads, share))?.item()?;
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

    /// Updates the parameters like [`Optimizer::step`], but returns the norm as a tensor of one element, without
    /// waiting for the GPU.
    fn update(
        &mut self,
        module: &mut impl Module,
        mut grads: Gradients,
        share: f64,
    ) -> Result<Tensor> {
        let mut index = 0;
        let (mut taken, mut by) = (Vec::new(), Vec::new());
        module.visit("", &mut |_, role, tensor| {
            if !is_moved(role, tensor) {
                return;
            }
            if let Some(grad) = grads.take(tensor) {
                let param = std::mem::replace(tensor, nothing());
                let decays = role == Role::Weight;
                taken.push(TakenParameter {
                    index,
                    group: self.group_of[index],
                    param,
                    decays,
                });
                by.push(grad);
            }
            index += 1;
        });
        let norm = self.apply(&mut taken, by, share);
        // The parameters return to the module, also after a failure.
        let mut back = taken.into_iter().peekable();
        let mut index = 0;
        module.visit("", &mut |_, role, tensor| {
            let taken = tensor.dims() == [0] && !tensor.is_tracked() && role.is_trained();
            if !taken && !is_moved(role, tensor) {
                return;
            }
            if let Some(moved) = back.next_if(|m| m.index == index) {
                *tensor = moved.param;
            }
            index += 1;
        });
        norm
    }

    /// Clips the gradients, updates the parameters, and returns the norm.
    fn apply(
        &mut self,
        taken: &mut [TakenParameter],
        mut grads: Vec<Tensor>,
        share: f64,
    ) -> Result<Tensor> {
        let limit = if self.config.clip > 0.0 {
            self.config.clip
        } else {
            f32::MAX
        };
        let norm = clip_grad_norm(&mut grads, limit)?;
        let before = self.before(taken);
        let mut grads = grads.into_iter();
        let groups = taken.chunk_by_mut(|a, b| a.group == b.group);
        let moved = groups.into_iter().try_for_each(|group| {
            let grads = grads.by_ref().take(group.len()).collect();
            self.apply_group(group, grads, &norm, share)
        });
        if moved.is_err() {
            for (taken, (param, state)) in taken.iter_mut().zip(before) {
                taken.param = param;
                self.state[taken.index] = state;
            }
        }
        moved.map(|()| norm)
    }

    /// Copies parameters and state, to restore them if one group fails after another was updated. Only a GPU can run
    /// out of memory there. Its kernels write new buffers, so keeping the old ones costs nothing; on the CPU it would
    /// force copies.
    fn before(&self, taken: &[TakenParameter]) -> Vec<Before> {
        let params: Vec<&Tensor> = taken.iter().map(|m| &m.param).collect();
        if self.groups.len() < 2 || matches!(Device::of(&params), Device::Cpu) {
            return Vec::new();
        }
        let before = taken
            .iter()
            .map(|m| (m.param.clone(), self.state[m.index].clone()));
        before.collect()
    }

    /// Updates the parameters of one group by their clipped gradients. `norm` is the norm over all groups.
    fn apply_group(
        &mut self,
        taken: &mut [TakenParameter],
        grads: Vec<Tensor>,
        norm: &Tensor,
        share: f64,
    ) -> Result<()> {
        let config = &self.config;
        let Some(GroupSettings { lr, weight_decay }) = taken.first().map(|m| self.groups[m.group])
        else {
            return Ok(());
        };
        let lr = learning_rate(lr, share);
        let take = |t: &mut Tensor| std::mem::replace(t, nothing());
        let each = taken.iter_mut().zip(grads);
        if config.kind == OptimizerKind::Sgd {
            let mut all: Vec<sgd::Step> = each
                .map(|(taken, grad)| sgd::Step {
                    param: take(&mut taken.param),
                    grad,
                    velocity: take(&mut self.state[taken.index][0]),
                    decays: taken.decays,
                })
                .collect();
            let options = Sgd {
                lr,
                momentum: config.momentum,
                weight_decay,
                nesterov: false,
            };
            let moved = sgd::step(&mut all, norm, &options);
            for (taken, step) in taken.iter_mut().zip(all) {
                taken.param = step.param;
                self.state[taken.index][0] = step.velocity;
            }
            return moved;
        }
        let mut all: Vec<adam::Step> = each
            .map(|(taken, grad)| {
                let [first, second] = &mut self.state[taken.index];
                adam::Step {
                    param: take(&mut taken.param),
                    grad,
                    m: take(first),
                    v: take(second),
                    decays: taken.decays,
                }
            })
            .collect();
        let [beta1, beta2] = config.betas;
        let options = Adam {
            lr,
            beta1,
            beta2,
            eps: 1e-8,
            weight_decay,
            decoupled: config.kind == OptimizerKind::AdamW,
        };
        let moved = adam::step(&mut all, norm, self.steps + 1, &options);
        for (taken, step) in taken.iter_mut().zip(all) {
            taken.param = step.param;
            self.state[taken.index] = [step.m, step.v];
        }
        moved
    }

    /// Returns the state as named tensors for a checkpoint.
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

    /// Restores the state from a checkpoint, after `steps` steps.
    ///
    /// # Errors
    /// Fails if it does not fit.
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

/// Returns whether the optimizer updates a tensor with this role.
fn is_moved(role: Role, tensor: &Tensor) -> bool {
    role.is_trained() && tensor.is_tracked()
}

/// Returns a placeholder for a tensor that was taken out.
fn nothing() -> Tensor {
    Tensor::zeros(&[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops;
    use crate::ops::testing::{assert_close, here, on_every_device};

    /// Two parameters, one of which has a name that a group prefix matches.
    struct Pair([Tensor; 2]);

    impl Module for Pair {
        fn visit(&mut self, prefix: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
            let [quick, slow] = &mut self.0;
            f(&format!("{prefix}slow.weight"), Role::Weight, slow);
            f(&format!("{prefix}quick.weight"), Role::Weight, quick);
        }
    }

    #[test]
    fn each_group_has_its_pace_and_all_share_one_norm() {
        let config = OptimizerConfig {
            kind: OptimizerKind::Sgd,
            lr: 0.5,
            weight_decay: 0.1,
            momentum: 0.0,
            clip: 2.5,
            ..Default::default()
        };
        on_every_device(|| {
            let mut pair = Pair([4.0, 3.0].map(|x| here(Tensor::full(&[1], x)).tracked()));
            let mut optimizer = Optimizer::new(&config, &mut pair);
            let settings = GroupSettings {
                lr: 0.25,
                weight_decay: 0.2,
            };
            optimizer.set_group("slow.", settings);
            // The gradient of half the sum of squares is the parameter itself; together their norm is 5.
            let [quick, slow] = &pair.0;
            let squares = [quick, slow].map(|x| ops::mul(x, x).unwrap());
            let loss = ops::scale(&ops::add(&squares[0], &squares[1]).unwrap(), 0.5).unwrap();
            let grads = ops::sum(&loss).unwrap().backward().unwrap();
            let norm = optimizer.step(&mut pair, grads, 0.5).unwrap();
            assert!((norm - 5.0).abs() < 1e-5);
            let got = [0, 1].map(|i| pair.0[i].data()[0]);
            let want = [
                4.0 - 0.25 * (2.0 + 0.1 * 4.0),
                3.0 - 0.125 * (1.5 + 0.2 * 3.0),
            ];
            assert_close("quick and slow", &got, &want, 1e-6);
        });
    }
}
