//! The loss of the stage `cross-entropy`.
//!
//! It is the negative log-probability that the decoder gives to the human caption's word, given the words before it
//! (teacher forcing), averaged over the words of the batch. Two options extend it:
//!
//! - Scheduled sampling (Bengio et al., 2015, arXiv 1506.03099): some of the decoder's input words are samples from the
//!   decoder itself, so that it learns to continue after its own mistakes. A first pass without gradients samples them
//!   word by word. No gradient flows through a sample, so the second pass is ordinary teacher forcing on the mixed
//!   words.
//! - Doubly stochastic attention (Xu et al., 2015): see [`ops::coverage`].

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::batches::{Batch, mix};
use super::config::{LossConfig, TrainConfig};
use super::step::{Position, purpose};
use crate::data::vocabulary::{PAD, START, UNKNOWN};
use crate::error::Result;
use crate::model::{Captioner, Forced};
use crate::nn::{Mode, Module};
use crate::ops::{self, CrossEntropy};
use crate::tensor::Tensor;

/// The losses of a batch, both scalars.
pub(super) struct CaptionLoss {
    /// The cross-entropy, plus the weighted loss of doubly stochastic attention.
    pub(super) whole: Tensor,
    /// The cross-entropy alone.
    pub(super) caption: Tensor,
}

/// Computes the cross-entropy of the captions of a batch.
pub(super) fn cross_entropy(
    captioner: &Captioner,
    config: &TrainConfig,
    image: &Tensor,
    batch: &Batch,
    position: Position,
) -> Result<CaptionLoss> {
    let seed = |purpose| mix(config.seed, position.step, purpose);
    let given = scheduled_words(
        captioner,
        &config.loss,
        image,
        batch,
        position,
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
            let counted: Vec<bool> = batch.targets.iter().map(|&t| t != PAD as usize).collect();
            let coverage = ops::coverage(&attention, &counted)?;
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
    position: Position,
    seed: u64,
) -> Result<Option<Vec<usize>>> {
    let share = position.step as f64 / position.total.max(1) as f64;
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
