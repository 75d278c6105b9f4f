//! The caption stages: a batch of images and captions, the decoder's prediction, and its loss.
//!
//! The losses of the two stages are in `cross_entropy.rs` and `self_critical.rs`.

use super::batches::{Batch, Samples, mix};
use super::config::{EncoderTraining, Stage, TrainConfig};
use super::cross_entropy::cross_entropy;
use super::dev::{Dev, Evaluation};
use super::features::FeatureCache;
use super::self_critical::Rewards;
use super::step::{Position, Terms, purpose};
use crate::error::Result;
use crate::model::Captioner;
use crate::nn::Mode;
use crate::tensor::Tensor;

/// The captioner and the data of the caption stages.
pub(super) struct Captions {
    pub(super) captioner: Captioner,
    pub(super) train: Samples,
    pub(super) dev: Option<Dev>,
    /// Cached features of a frozen encoder.
    pub(super) features: Option<FeatureCache>,
    /// The rewards of the stage `self-critical`.
    pub(super) rewards: Option<Rewards>,
}

impl Captions {
    /// Computes the loss of a step.
    ///
    /// # Errors
    /// Fails if an image cannot be read, or the GPU fails.
    pub(super) fn loss(&self, config: &TrainConfig, position: Position) -> Result<Terms> {
        let captioner = &self.captioner;
        let batch = self.batch(config, position.step);
        let image = self.image(config, &batch, position.step)?;
        match (&self.rewards, config.stage) {
            (Some(rewards), Stage::SelfCritical) => {
                rewards.loss(captioner, config, &image, &batch, position.step)
            }
            _ => {
                let total = cross_entropy(captioner, config, &image, &batch, position)?;
                Ok(Terms {
                    parts: vec![("caption_loss".into(), total.caption.detach())],
                    total: total.whole,
                    images: batch.images.len(),
                })
            }
        }
    }

    /// Evaluates the captioner on the dev split.
    pub(super) fn evaluate(&self, config: &TrainConfig) -> Result<Evaluation> {
        match &self.dev {
            Some(dev) => dev.evaluate(&self.captioner, &config.dev, config.max_words),
            None => Ok(Evaluation::default()),
        }
    }

    /// Returns the images and captions of a step.
    pub(super) fn batch(&self, config: &TrainConfig, step: u64) -> Batch {
        let TrainConfig {
            seed,
            batch,
            captions,
            ..
        } = *config;
        self.train
            .batch(seed, step, batch, captions, config.augment.flip)
    }

    /// Returns the decoder's image input for a batch, `[N, C]` or `[N, P, C]`: encoded, or read from the cache if the
    /// encoder is frozen.
    pub(super) fn image(&self, config: &TrainConfig, batch: &Batch, step: u64) -> Result<Tensor> {
        let captioner = &self.captioner;
        if let Some(features) = &self.features {
            let mirrored = batch.mirrored.iter().map(|&m| usize::from(m));
            let rows: Vec<_> = batch.images.iter().copied().zip(mirrored).collect();
            return features.rows_of_views(&rows);
        }
        let size = captioner.recipe.size();
        let epoch = step / self.train.steps_per_epoch(config.batch);
        let images = self
            .train
            .varied(batch, &config.augment, size, config.seed, epoch)?;
        let mode = Mode::Training {
            seed: mix(config.seed, step, purpose::ENCODER),
        };
        match config.encoder.train {
            EncoderTraining::None => captioner.encode(&images),
            _ => captioner.encode_in(&images, mode),
        }
    }
}
