//! `[optimizer]`: the optimizer, its learning rate schedule, and weight averaging.

use serde::{Deserialize, Serialize};

use super::require;
use crate::error::Result;

/// Settings of the optimizer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// `adamw`, `adam` or `sgd`.
    pub kind: OptimizerKind,
    /// The learning rate after warm-up.
    pub lr: f32,
    /// Schedule of the learning rate after warm-up: `cosine`, `step`, `plateau` or `constant`.
    pub schedule: ScheduleKind,
    /// Share of all steps over which the learning rate rises from zero, in `[0, 1]`.
    pub warmup: f64,
    /// `step`: share of all steps between two multiplications of the learning rate by `decay`, in `(0, 1]`.
    pub decay_every: f64,
    /// `step` and `plateau`: factor by which the learning rate falls, in `(0, 1]`.
    pub decay: f64,
    /// `plateau`: number of evaluations without a better dev score before the learning rate falls, at least 1.
    pub plateau_patience: u64,
    /// Weight decay of matrices and kernels; biases, norms and word embeddings have none.
    pub weight_decay: f32,
    /// Momentum of SGD.
    pub momentum: f32,
    /// Adam's decay rates `beta1` and `beta2`.
    pub betas: [f32; 2],
    /// Maximum norm of the gradients, which are scaled down to it; 0 is never.
    pub clip: f32,
    /// Decay rate of the exponential moving average of all parameters, in `[0, 1)`; 0 keeps none. The averaged
    /// parameters, if any, are evaluated on the dev split and become the model.
    pub average: f32,
}

/// The optimizers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// Adam with decoupled weight decay.
    AdamW,
    /// Adam.
    Adam,
    /// Stochastic gradient descent with momentum.
    Sgd,
}

/// Schedule of the learning rate after warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleKind {
    /// Falls to zero along half a cosine (Loshchilov and Hutter, 2017, arXiv 1608.03983).
    #[default]
    Cosine,
    /// Falls by the factor `decay` after every `decay_every` of the run.
    Step,
    /// Falls by the factor `decay` when the dev score has stopped improving.
    Plateau,
    /// Stays constant.
    Constant,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        OptimizerConfig {
            kind: OptimizerKind::AdamW,
            lr: 1e-3,
            schedule: ScheduleKind::Cosine,
            warmup: 0.05,
            decay_every: 0.3,
            decay: 0.5,
            plateau_patience: 2,
            weight_decay: 0.05,
            momentum: 0.9,
            betas: [0.9, 0.999],
            clip: 1.0,
            average: 0.0,
        }
    }
}

impl OptimizerConfig {
    /// Refuses values out of range.
    pub(super) fn check(&self) -> Result<()> {
        require(
            self.lr.is_finite() && self.lr > 0.0,
            "optimizer.lr: must be above 0",
        )?;
        require(
            (0.0..=1.0).contains(&self.warmup),
            "optimizer.warmup: must be in [0, 1]",
        )?;
        require(
            self.decay_every > 0.0 && self.decay_every <= 1.0,
            "optimizer.decay_every: must be in (0, 1]",
        )?;
        require(
            self.decay > 0.0 && self.decay <= 1.0,
            "optimizer.decay: must be in (0, 1]",
        )?;
        require(
            self.plateau_patience > 0,
            "optimizer.plateau_patience: must be at least 1",
        )?;
        require(
            self.weight_decay.is_finite() && self.weight_decay >= 0.0,
            "optimizer.weight_decay: must not be negative",
        )?;
        require(
            (0.0..1.0).contains(&self.momentum),
            "optimizer.momentum: must be in [0, 1)",
        )?;
        require(
            self.betas.iter().all(|b| (0.0..1.0).contains(b)),
            "optimizer.betas: must be in [0, 1)",
        )?;
        require(
            self.clip.is_finite() && self.clip >= 0.0,
            "optimizer.clip: must not be negative",
        )?;
        require(
            (0.0..1.0).contains(&self.average),
            "optimizer.average: must be in [0, 1)",
        )
    }
}
