//! `[optimizer]`: how parameters move, at which learning rate, and how they are averaged.

use serde::{Deserialize, Serialize};

use super::require;
use crate::error::Result;

/// How parameters move.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// `adamw`, `adam` or `sgd`.
    pub kind: OptimizerKind,
    /// The learning rate after warm-up.
    pub lr: f32,
    /// How the learning rate changes after warm-up: `cosine`, `step`, `plateau` or `constant`.
    pub schedule: ScheduleKind,
    /// The share of all steps over which the learning rate rises from zero, in `[0, 1]`.
    pub warmup: f64,
    /// `step`: the share of all steps after which the learning rate is multiplied by `decay`, again and again, in
    /// `(0, 1]`.
    pub decay_every: f64,
    /// `step` and `plateau`: the factor by which the learning rate falls, in `(0, 1]`.
    pub decay: f64,
    /// `plateau`: evaluations on the dev split without a better score before the learning rate falls, at least 1.
    pub plateau_patience: u64,
    /// Pulls matrices and kernels towards zero; biases, norms and word vectors are left alone.
    pub weight_decay: f32,
    /// SGD's momentum.
    pub momentum: f32,
    /// Adam's decay rates.
    pub betas: [f32; 2],
    /// Gradients are scaled down to at most this norm; 0 is never.
    pub clip: f32,
    /// The decay rate of the exponential moving average of all parameters, in `[0, 1)`; 0 keeps none. Where there is an
    /// average, it is what dev scores are measured on and what becomes the model.
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

/// How the learning rate changes after warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleKind {
    /// It falls to zero along half a cosine (Loshchilov and Hutter, 2017, arXiv 1608.03983).
    #[default]
    Cosine,
    /// It falls by the factor `decay` after every `decay_every` of the run.
    Step,
    /// It falls by the factor `decay` whenever the dev score stands still.
    Plateau,
    /// It stays.
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
    /// Refuses values that make no sense.
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
