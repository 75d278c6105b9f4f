//! Self-critical training (Rennie et al., 2017, arXiv 1612.00563): the policy gradient of a caption score.
//!
//! Cross-entropy asks for the very words that people wrote. What counts is whether the whole caption is good, which
//! CIDEr-D measures. Its expectation over captions `w` that the model draws has the gradient (REINFORCE, Williams, 1992)
//!
//! ```text
//! d E[r(w)] = E[(r(w) - b) d ln p(w)]            ln p(w) = sum over t of ln p(w_t | w_1 .. w_{t-1}, image)
//! ```
//!
//! for any baseline `b` that does not depend on `w`. Of `K` captions drawn for an image, the baseline of one is the mean
//! reward of the others (Luo, 2020, arXiv 2003.09971), which keeps the variance small without a second search. So the loss is
//! the cross-entropy of the drawn captions with a weight, the advantage `r - b`, for each word; see
//! [`ops::weighted_cross_entropy`].
//!
//! Captions are drawn, and their probabilities taken, without dropout: the model that learns is the one that draws. The
//! end mark counts as a word of the reward. Otherwise a caption may stop anywhere without losing much, and a third of them end
//! in "with a".

use super::batches::{Batch, Samples, mix};
use super::captions::{cross_entropy, purpose};
use super::config::TrainConfig;
use super::work::{Place, Terms};
use crate::caption::sample_ids;
use crate::cpu::threads;
use crate::data::vocabulary::{PAD, START};
use crate::error::Result;
use crate::metrics::cider::{CiderD, DocumentFrequencies, Prepared};
use crate::model::Captioner;
use crate::nn::{Mode, Module};
use crate::ops::{self, CrossEntropy};
use crate::tensor::Tensor;

// Groups of drawn captions of similar length; each group is padded to its own longest caption.
const GROUPS: usize = 4;

/// The reward of a caption: CIDEr-D of its word ids, the end mark included, against the captions of its image.
pub(super) struct Rewards {
    cider: CiderD<usize>,
    /// The captions of each training image, as CIDEr-D wants them.
    references: Vec<Prepared<usize>>,
}

impl Rewards {
    /// Rewards by the training captions, whose document frequencies weigh the n-grams.
    pub(super) fn new(samples: &Samples) -> Self {
        let all: Vec<Vec<Vec<usize>>> = (0..samples.len())
            .map(|image| samples.targets(image))
            .collect();
        let frequencies = DocumentFrequencies::new(all.iter().map(Vec::as_slice));
        let cider = CiderD::new(frequencies);
        let references = all.iter().map(|captions| cider.prepare(captions)).collect();
        Rewards { cider, references }
    }

    /// The loss of a step; `image` holds the batch's images as the decoder takes them.
    ///
    /// # Errors
    /// Where the GPU fails.
    pub(super) fn loss(
        &self,
        captioner: &Captioner,
        config: &TrainConfig,
        image: &Tensor,
        batch: &Batch,
        step: u64,
    ) -> Result<Terms> {
        let how = &config.self_critical;
        let seed = mix(config.seed, step, purpose::DRAWS);
        // Draws leave no trace on the tape.
        let mut decoder = captioner.decoder.clone();
        decoder.track(false);
        let drawn = sample_ids(
            &decoder,
            &image.detach(),
            how.samples,
            how.temperature,
            config.max_words,
            seed,
        )?;
        let rewards = self.rewards(&batch.images, &drawn, how.samples);
        let advantages = advantages(&rewards, how.samples);
        let policy = policy_loss(
            captioner,
            image,
            &drawn,
            &advantages,
            how.samples,
            how.temperature,
        )?;
        let mean = rewards.iter().sum::<f64>() / rewards.len().max(1) as f64;
        let mut parts = vec![
            ("policy_loss".to_string(), policy.detach()),
            ("reward".to_string(), Tensor::scalar(mean as f32)),
        ];
        let mut total = policy;
        if how.cross_entropy > 0.0 {
            // The draws need no place in the run; only scheduled sampling asks for it, which this stage excludes.
            let place = Place { step, total: 1 };
            let caption = cross_entropy(captioner, config, image, batch, place)?;
            parts.push(("caption_loss".to_string(), caption.caption.detach()));
            total = ops::add(
                &ops::scale(&total, 1.0 - how.cross_entropy)?,
                &ops::scale(&caption.whole, how.cross_entropy)?,
            )?;
        }
        Ok(Terms {
            total,
            parts,
            images: batch.images.len(),
        })
    }

    /// The reward of each drawn caption; those of an image lie side by side.
    fn rewards(&self, images: &[usize], drawn: &[Vec<usize>], samples: usize) -> Vec<f64> {
        threads::map(drawn.len(), |i| {
            let references = &self.references[images[i / samples]];
            self.cider.score_prepared(&drawn[i], references)
        })
    }
}

/// `r - b` for each caption, with `b` the mean reward of the image's other captions.
fn advantages(rewards: &[f64], samples: usize) -> Vec<f32> {
    let of_image = |rewards: &[f64]| -> Vec<f32> {
        let sum: f64 = rewards.iter().sum();
        let others = (samples - 1) as f64;
        rewards
            .iter()
            .map(|r| (r - (sum - r) / others) as f32)
            .collect()
    };
    rewards.chunks(samples).flat_map(of_image).collect()
}

/// The mean over all drawn words of `-(r - b) ln p(word)`, at the temperature of the draws.
fn policy_loss(
    captioner: &Captioner,
    image: &Tensor,
    drawn: &[Vec<usize>],
    advantages: &[f32],
    samples: usize,
    temperature: f32,
) -> Result<Tensor> {
    // Captions of similar length together: less padding is computed.
    let mut order: Vec<usize> = (0..drawn.len()).collect();
    order.sort_by_key(|&i| (drawn[i].len(), i));
    let all: usize = drawn.iter().map(Vec::len).sum();
    let mut total: Option<Tensor> = None;
    for group in order.chunks(drawn.len().div_ceil(GROUPS).max(1)) {
        let words: usize = group.iter().map(|&i| drawn[i].len()).sum();
        let loss = group_loss(
            captioner,
            image,
            drawn,
            advantages,
            samples,
            temperature,
            group,
        )?;
        let loss = ops::scale(&loss, words as f32 / all as f32)?;
        total = Some(match total {
            None => loss,
            Some(before) => ops::add(&before, &loss)?,
        });
    }
    Ok(total.unwrap_or_else(|| Tensor::scalar(0.0)))
}

/// The policy loss of the captions `group`, a mean over their words.
fn group_loss(
    captioner: &Captioner,
    image: &Tensor,
    drawn: &[Vec<usize>],
    advantages: &[f32],
    samples: usize,
    temperature: f32,
    group: &[usize],
) -> Result<Tensor> {
    let steps = group.iter().map(|&i| drawn[i].len()).max().unwrap_or(0);
    let (mut words, mut targets, mut weights) = (Vec::new(), Vec::new(), Vec::new());
    for &i in group {
        let padding = steps - drawn[i].len();
        words.push(START as usize);
        words.extend_from_slice(&drawn[i][..drawn[i].len() - 1]);
        words.extend(std::iter::repeat_n(PAD as usize, padding));
        targets.extend_from_slice(&drawn[i]);
        targets.extend(std::iter::repeat_n(PAD as usize, padding));
        weights.extend(std::iter::repeat_n(advantages[i], steps));
    }
    let image_of: Vec<usize> = group.iter().map(|&i| i / samples).collect();
    let forced = captioner
        .decoder
        .forward(image, &image_of, &words, Mode::Inference)?;
    let logits = match temperature {
        1.0 => forced.logits,
        t => ops::scale(&forced.logits, 1.0 / t)?,
    };
    let options = CrossEntropy {
        ignore_index: Some(PAD as usize),
        label_smoothing: 0.0,
    };
    ops::weighted_cross_entropy(&logits, &targets, &weights, options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_baseline_is_the_mean_of_the_others() {
        let got = advantages(&[1.0, 2.0, 6.0, 5.0, 5.0, 5.0], 3);
        assert_eq!(got, [-3.0, -1.5, 4.5, 0.0, 0.0, 0.0]);
        let sum: f32 = got.iter().sum();
        assert_eq!(sum, 0.0, "the advantages of an image add up to nothing");
    }
}
