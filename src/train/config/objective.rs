//! `[loss]`, `[self_critical]` and `[dev]`: the objective, and the evaluation on the dev split.

use serde::{Deserialize, Serialize};

use super::require;
use crate::error::Result;

/// The objective of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The encoder learns from the features and class probabilities of teachers. The result is an encoder without a
    /// decoder.
    Distill,
    /// The captioner learns to predict each word of human captions.
    #[default]
    CrossEntropy,
    /// The captioner samples captions and learns to raise the probability of those with a high CIDEr-D.
    SelfCritical,
}

impl Stage {
    /// Returns the name in configurations and logs.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Distill => "distill",
            Stage::CrossEntropy => "cross-entropy",
            Stage::SelfCritical => "self-critical",
        }
    }
}

/// Options of the caption losses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossConfig {
    /// Label smoothing: the share of the target word's probability that is spread over all words, in `[0, 1)`.
    pub label_smoothing: f32,
    /// Scheduled sampling (Bengio et al., 2015, arXiv 1506.03099): the probability that the decoder's input is a word
    /// that it sampled itself instead of the human caption's. It rises from 0 to this value over the run, in `[0, 1]`.
    pub scheduled_sampling: f32,
    /// Weight of doubly stochastic attention (Xu et al., 2015, arXiv 1502.03044), by which the attention weights of
    /// each position of the map should sum to 1 over a sentence. For `kind = "attention"`; 0 is off.
    pub doubly_stochastic: f32,
}

/// Self-critical training (Rennie et al., 2017, arXiv 1612.00563).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SelfCriticalConfig {
    /// Captions sampled per image, at least 2. The baseline of one is the mean reward of the others.
    pub samples: usize,
    /// Sampling temperature, above 0.
    pub temperature: f32,
    /// Weight of cross-entropy in the loss, in `[0, 1)`; the policy gradient has the rest.
    pub cross_entropy: f32,
    /// Weight of precision in the reward beside CIDEr-D, 0 or more. Precision is the share of a caption's content words
    /// that the image's human captions use.
    #[serde(skip_serializing_if = "is_zero")]
    pub precision: f32,
}

/// Evaluation on the dev split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DevConfig {
    /// Steps between two evaluations; 0 evaluates after every `validate_every` epochs instead. The last step of the
    /// run is followed by one too.
    pub every: u64,
    /// The score that selects the best weights: `cider` or `bleu4` of generated captions, or the `loss`.
    pub score: DevScore,
    /// Beam width of the generated captions; 1 is greedy.
    pub beam: usize,
    /// Number of images that are captioned, from the first on; 0 is all. The loss always covers all images.
    pub images: usize,
    /// Early stopping: number of evaluations without a better score before the run ends; 0 is never.
    pub patience: u64,
    /// Which weights become the model: the `best` by the score, or the `last`. The others are saved beside it.
    pub keep: Keep,
}

/// The score that selects the best weights.
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
    /// Returns the name in logs.
    pub fn name(self) -> &'static str {
        match self {
            DevScore::Cider => "cider",
            DevScore::Bleu4 => "bleu4",
            DevScore::Loss => "loss",
        }
    }

    /// Formats a value of this score for a message.
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
    /// The weights with the best dev score.
    Best,
    /// The weights after the last step.
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
