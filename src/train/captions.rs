//! The caption stages: a batch of images and captions, the decoder's prediction, and its loss.
//!
//! The loss of the stage `cross-entropy` is the negative log-probability that the decoder gives to the human caption's
//! word, given the words before it (teacher forcing), averaged over the words of the batch. Two options extend it:
//!
//! - Scheduled sampling (Bengio et al., 2015, arXiv 1506.03099): some of the decoder's input words are samples from the
//!   decoder itself, so that it learns to continue after its own mistakes. A first pass without gradients samples them
//!   word by word. No gradient flows through a sample, so the second pass is ordinary teacher forcing on the mixed
//!   words.
//! - Doubly stochastic attention (Xu et al., 2015): see [`ops::coverage`].
//!
//! The loss of the stage `self-critical` is in `self_critical.rs`.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::batches::{Batch, Samples, mix};
use super::config::{EncoderTraining, LossConfig, Stage, TrainConfig};
use super::dev::{Dev, Evaluation};
use super::features::FeatureCache;
use super::self_critical::Rewards;
use super::work::{Place, Terms};
use crate::data::vocabulary::{PAD, START, UNKNOWN};
use crate::error::Result;
use crate::model::{Captioner, Forced};
use crate::nn::{Mode, Module};
use crate::ops::{self, CrossEntropy};
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

/// Purposes of random numbers in a step. Each purpose is a separate stream of the generator.
pub(super) mod purpose {
    pub const DROPOUT: u64 = 3;
    pub const ENCODER: u64 = 4;
    pub const SCHEDULED: u64 = 5;
    pub const DRAWS: u64 = 6;
}

impl Captions {
    /// Computes the loss of a step.
    ///
    /// # Errors
    /// Fails if an image cannot be read, or the GPU fails.
    pub(super) fn loss(&self, config: &TrainConfig, place: Place) -> Result<Terms> {
        let captioner = &self.captioner;
        let batch = self.batch(config, place.step);
        let image = self.image(config, &batch, place.step)?;
        match (&self.rewards, config.stage) {
            (Some(rewards), Stage::SelfCritical) => {
                rewards.loss(captioner, config, &image, &batch, place.step)
            }
            _ => {
                let total = cross_entropy(captioner, config, &image, &batch, place)?;
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

/// The cross-entropy of a batch: with its regularisers, and alone.
pub(super) struct CaptionLoss {
    pub(super) whole: Tensor,
    pub(super) caption: Tensor,
}

/// Computes the cross-entropy of the captions of a batch.
pub(super) fn cross_entropy(
    captioner: &Captioner,
    config: &TrainConfig,
    image: &Tensor,
    batch: &Batch,
    place: Place,
) -> Result<CaptionLoss> {
    let seed = |purpose| mix(config.seed, place.step, purpose);
    let given = scheduled_words(
        captioner,
        &config.loss,
        image,
        batch,
        place,
        seed(purpose::SCHEDULED),
    )?;
    let words = given.as_ref().unwrap_or(&batch.words);
    let mode = Mode::Training {
        seed: seed(purpose::DROPOUT),
    };
    let Forced { logits, attention } =
        captioner
            .decoder
            .forward(image, &batch.image_of, words, mode)?;
    let options = CrossEntropy {
        ignore_index: Some(PAD as usize),
        label_smoothing: config.loss.label_smoothing,
    };
    let caption = ops::cross_entropy(&logits, &batch.targets, options)?;
    let whole = match (attention, config.loss.doubly_stochastic) {
        (Some(attention), weight) if weight > 0.0 => {
            let said: Vec<bool> = batch.targets.iter().map(|&t| t != PAD as usize).collect();
            let coverage = ops::coverage(&attention, &said)?;
            ops::add(&caption, &ops::scale(&coverage, weight)?)?
        }
        _ => caption.clone(),
    };
    Ok(CaptionLoss { whole, caption })
}

/// Returns the decoder's input words under scheduled sampling, `[S, T]` like the batch's; `None` if all are the batch's
/// own.
fn scheduled_words(
    captioner: &Captioner,
    config: &LossConfig,
    image: &Tensor,
    batch: &Batch,
    place: Place,
    seed: u64,
) -> Result<Option<Vec<usize>>> {
    let share = place.step as f64 / place.total.max(1) as f64;
    let probability = f64::from(config.scheduled_sampling) * share;
    if probability <= 0.0 {
        return Ok(None);
    }
    let sentences = batch.image_of.len();
    let mut decoder = captioner.decoder.clone();
    decoder.track(false);
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    let barred = [PAD, START, UNKNOWN].map(|word| word as usize);
    let mut words = batch.words.clone();
    let steps = words.len() / sentences;
    let mut state = decoder.start(&image.detach())?.select(&batch.image_of)?;
    for t in 0..steps.saturating_sub(1) {
        let given: Vec<usize> = (0..sentences).map(|s| words[s * steps + t]).collect();
        let (next, logits) = decoder.step(&state, &given)?;
        state = next;
        let uniform: Vec<f32> = (0..sentences).map(|_| generator.random()).collect();
        let drawn = ops::categorical(&logits, &uniform, 1.0, &barred)?;
        for (s, word) in drawn.into_iter().enumerate() {
            let at = s * steps + t + 1;
            let takes_draw = generator.random_bool(probability);
            if takes_draw && words[at] != PAD as usize {
                words[at] = word;
            }
        }
    }
    Ok(Some(words))
}
