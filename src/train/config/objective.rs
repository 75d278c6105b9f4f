//! `[loss]`, `[self_critical]` and `[dev]`: the objective, and how the dev split judges the run.

use serde::{Deserialize, Serialize};

use super::require;
use crate::error::Result;

/// The objective of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The encoder learns from the features and class probabilities of teachers; the result is an encoder without a
    /// decoder.
    Distill,
    /// The captioner learns to predict each word of the captions that people wrote.
    #[default]
    CrossEntropy,
    /// The captioner draws captions and learns to draw those more often that CIDEr-D prefers.
    SelfCritical,
}

impl Stage {
    /// The name, as configurations and logs spell it.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Distill => "distill",
            Stage::CrossEntropy => "cross-entropy",
            Stage::SelfCritical => "self-critical",
        }
    }
}

/// The details of the caption losses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossConfig {
    /// How much of the wanted word's probability is spread over all words, in `[0, 1)`.
    pub label_smoothing: f32,
    /// Scheduled sampling (Bengio et al., 2015, arXiv 1506.03099): the probability with which the decoder is given a
    /// word that it drew itself instead of the one that people wrote. It rises from 0 to this value over the run, in
    /// `[0, 1]`.
    pub scheduled_sampling: f32,
    /// The weight of doubly stochastic attention (Xu et al., 2015, arXiv 1502.03044): each position of the map should
    /// be looked at once over a sentence. For `kind = "attention"`; 0 is off.
    pub doubly_stochastic: f32,
}

/// Self-critical training (Rennie et al., 2017, arXiv 1612.00563).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SelfCriticalConfig {
    /// Captions that are drawn for each image, at least 2: the baseline of one is the mean reward of the others.
    pub samples: usize,
    /// The temperature of the draws, above 0.
    pub temperature: f32,
    /// The share of cross-entropy in the loss, in `[0, 1)`; the policy gradient has the rest.
    pub cross_entropy: f32,
    /// How much precision counts in the reward beside CIDEr-D, 0 or more: the share of a caption's content words that
    /// people used of the image.
    #[serde(skip_serializing_if = "is_zero")]
    pub precision: f32,
}

/// How the dev split judges the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DevConfig {
    /// Steps between two evaluations; 0 evaluates after every `validate_every` epochs instead.
    pub every: u64,
    /// The score that decides which weights are best: `cider` or `bleu4` of freely generated captions, or the `loss`.
    pub score: DevScore,
    /// The beam of the generated captions; 1 is greedy.
    pub beam: usize,
    /// Images that are captioned, from the first on; 0 is all. The loss is taken over all in any case.
    pub images: usize,
    /// Evaluations without a better score before the run ends early; 0 is never.
    pub patience: u64,
    /// Which weights become the model: the `best` by the score, or the `last`. The others go beside it.
    pub keep: Keep,
}

/// The score that decides which weights are best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DevScore {
    /// CIDEr of generated captions; higher is better.
    Cider,
    /// BLEU-4 of generated captions; higher is better.
    Bleu4,
    /// The dev loss; lower is better.
    Loss,
}

impl DevScore {
    /// The name, as logs spell it.
    pub fn name(self) -> &'static str {
        match self {
            DevScore::Cider => "cider",
            DevScore::Bleu4 => "bleu4",
            DevScore::Loss => "loss",
        }
    }

    /// A value of this score in words.
    pub fn spelled(self, value: f64) -> String {
        match self {
            DevScore::Cider => format!("CIDEr {value:.2}"),
            DevScore::Bleu4 => format!("BLEU-4 {value:.2}"),
            DevScore::Loss => format!("dev loss {value:.4}"),
        }
    }
}

/// Which weights become the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// Those with the best dev score.
    Best,
    /// Those after the last step.
    Last,
}

impl Default for LossConfig {
    fn default() -> Self {
        LossConfig {
            label_smoothing: 0.1,
            scheduled_sampling: 0.0,
            doubly_stochastic: 0.0,
        }
    }
}

impl Default for SelfCriticalConfig {
    fn default() -> Self {
        SelfCriticalConfig {
            samples: 5,
            temperature: 1.0,
            cross_entropy: 0.0,
            precision: 0.0,
        }
    }
}

impl Default for DevConfig {
    fn default() -> Self {
        DevConfig {
            every: 0,
            score: DevScore::Cider,
            beam: 1,
            images: 0,
            patience: 0,
            keep: Keep::Best,
        }
    }
}

impl LossConfig {
    pub(super) fn check(&self) -> Result<()> {
        require(
            (0.0..1.0).contains(&self.label_smoothing),
            "loss.label_smoothing: must be in [0, 1)",
        )?;
        require(
            (0.0..=1.0).contains(&self.scheduled_sampling),
            "loss.scheduled_sampling: must be in [0, 1]",
        )?;
        require(
            self.doubly_stochastic.is_finite() && self.doubly_stochastic >= 0.0,
            "loss.doubly_stochastic: must not be negative",
        )
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde passes references
fn is_zero(x: &f32) -> bool {
    *x == 0.0
}

impl SelfCriticalConfig {
    pub(super) fn check(&self) -> Result<()> {
        require(
            (2..=100).contains(&self.samples),
            "self_critical.samples: must be 2 to 100",
        )?;
        require(
            self.temperature.is_finite() && self.temperature > 0.0,
            "self_critical.temperature: must be above 0",
        )?;
        require(
            (0.0..1.0).contains(&self.cross_entropy),
            "self_critical.cross_entropy: must be in [0, 1)",
        )?;
        require(
            self.precision >= 0.0 && self.precision.is_finite(),
            "self_critical.precision: must be 0 or more",
        )
    }
}

impl DevConfig {
    pub(super) fn check(&self) -> Result<()> {
        require((1..=100).contains(&self.beam), "dev.beam: must be 1 to 100")
    }
}
