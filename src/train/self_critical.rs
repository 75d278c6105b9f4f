//! Self-critical training (Rennie et al., 2017, arXiv 1612.00563): the policy gradient of a caption score.
//!
//! Cross-entropy rewards only the exact words of human captions. This stage maximises a reward `r(w)` of the whole
//! caption `w` instead: its CIDEr-D. The expected reward of captions sampled from the model has the gradient
//! (REINFORCE, Williams, 1992)
//!
//! ```text
//! d E[r(w)] = E[(r(w) - b) d ln p(w)]            ln p(w) = sum over t of ln p(w_t | w_1 .. w_{t-1}, image)
//! ```
//!
//! for any baseline `b` that does not depend on `w`. Of `K` captions sampled for an image, the baseline of one is the
//! mean reward of the others (Luo, 2020, arXiv 2003.09971), which keeps the variance small without a second search. The
//! loss is therefore the cross-entropy of the sampled captions, in which each word is weighted by the advantage
//! `r - b`; see [`ops::weighted_cross_entropy`].
//!
//! Sampling and the computation of probabilities use no dropout, so that both see the same model. The end mark counts
//! as a word of the reward. Otherwise a caption may stop anywhere without losing much, and a third of them end in "with
//! a".
//!
//! CIDEr-D gives rare n-grams a high weight, and a caption with one of them may name many things that are not in the
//! image. Precision, the share of the caption's content words that the image's human captions use, can be added to the
//! reward:
//!
//! ```text
//! r(w) = CIDEr-D(w) + precision x (content words of w that are in the image's captions / content words of w)
//! ```

use std::collections::HashSet;

use super::batches::{Batch, Samples, mix};
use super::config::{SelfCriticalConfig, TrainConfig};
use super::cross_entropy::cross_entropy;
use super::step::{Position, Terms, purpose};
use crate::caption::sample_ids;
use crate::cpu::threads;
use crate::data::Vocabulary;
use crate::data::function_words::is_content;
use crate::data::vocabulary::{END, PAD, START};
use crate::error::Result;
use crate::metrics::cider::{CiderD, DocumentFrequencies, Prepared};
use crate::model::Captioner;
use crate::nn::{Mode, Module};
use crate::ops::{self, CrossEntropy};
use crate::tensor::Tensor;

/// Number of groups of sampled captions of similar length; each group is padded to its own longest caption.
const GROUPS: usize = 4;

/// Computes rewards: CIDEr-D of a caption's token ids, the end mark included, against the captions of its image, plus
/// the weighted precision.
pub(super) struct Rewards {
    cider: CiderD<usize>,
    /// For each token id, whether it is a content word.
    names: Vec<bool>,
    /// Token ids in the human captions of each training image.
    used: Vec<HashSet<usize>>,
    /// Captions of each training image, prepared for CIDEr-D.
    references: Vec<Prepared<usize>>,
}

impl Rewards {
    /// Prepares rewards by the training captions, whose document frequencies weight the n-grams.
    pub(super) fn new(samples: &Samples, vocabulary: &Vocabulary) -> Self {
        let all: Vec<Vec<Vec<usize>>> = (0..samples.len())
            .map(|image| samples.targets(image))
            .collect();
        let frequencies = DocumentFrequencies::new(all.iter().map(Vec::as_slice));
        let cider = CiderD::new(frequencies);
        let references = all.iter().map(|captions| cider.prepare(captions)).collect();
        let names = vocabulary.words().iter().map(|word| is_content(word));
        Rewards {
            cider,
            names: names.collect(),
            used: all
                .iter()
                .map(|captions| captions.iter().flatten().copied().collect())
                .collect(),
            references,
        }
    }

    /// Computes the loss of a step; `image` holds the decoder's image input for the batch.
    ///
    /// # Errors
    /// Fails if the GPU fails.
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
        // Sampling is not recorded on the tape.
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
        let rewards = self.rewards(&batch.images, &drawn, how);
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
            // Only scheduled sampling depends on the position in the run, and this stage excludes it.
            let position = Position { step, total: 1 };
            let caption = cross_entropy(captioner, config, image, batch, position)?;
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

    /// Returns the reward of each sampled caption; the captions of an image are adjacent.
    fn rewards(
        &self,
        images: &[usize],
        drawn: &[Vec<usize>],
        how: &SelfCriticalConfig,
    ) -> Vec<f64> {
        threads::map(drawn.len(), |i| {
            let image = images[i / how.samples];
            let cider = self
                .cider
                .score_prepared(&drawn[i], &self.references[image]);
            cider + f64::from(how.precision) * self.precision(image, &drawn[i])
        })
    }

    /// Returns the share of a caption's content words that the image's human captions use; 0 if it has no content
    /// words. The token for unknown words is not a content word.
    fn precision(&self, image: usize, caption: &[usize]) -> f64 {
        let content = caption
            .iter()
            .filter(|&&id| id != END as usize && self.names[id]);
        let (mut all, mut right) = (0usize, 0usize);
        for id in content {
            all += 1;
            right += usize::from(self.used[image].contains(id));
        }
        right as f64 / all.max(1) as f64
    }
}

/// Returns `r - b` for each caption, where `b` is the mean reward of the image's other captions.
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

/// Returns the mean over all sampled words of `-(r - b) ln p(word)`, at the sampling temperature.
fn policy_loss(
    captioner: &Captioner,
    image: &Tensor,
    drawn: &[Vec<usize>],
    advantages: &[f32],
    samples: usize,
    temperature: f32,
) -> Result<Tensor> {
    // Captions of similar length are grouped, which saves padding.
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

/// Returns the policy loss of the captions `group`, a mean over their words.
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
    fn precision_is_the_share_of_content_words_that_people_used() {
        let captions = [vec![4usize, 5, 6, END as usize]];
        let all = [&captions[..]];
        let cider = CiderD::new(DocumentFrequencies::new(all));
        let rewards = Rewards {
            references: vec![cider.prepare(&captions)],
            cider,
            // Of words 4 to 8 the first is an article, so it is no content word.
            names: vec![false, false, false, false, false, true, true, true, true],
            used: vec![captions[0].iter().copied().collect()],
        };
        let precision = |ids: &[usize]| rewards.precision(0, ids);
        assert_eq!(precision(&[4, 5, 6, 2]), 1.0);
        assert_eq!(precision(&[4, 5, 7, 8, 6, 2]), 0.5);
        assert_eq!(precision(&[4, 3, 2]), 0.0);
        let how = |precision: f32| SelfCriticalConfig {
            samples: 2,
            precision,
            ..SelfCriticalConfig::default()
        };
        let drawn = [vec![4, 5, 6, 2], vec![7, 5, 2]];
        let plain = rewards.rewards(&[0], &drawn, &how(0.0));
        let with = rewards.rewards(&[0], &drawn, &how(0.5));
        assert!((with[0] - plain[0] - 0.5).abs() < 1e-6);
        assert!((with[1] - plain[1] - 0.25).abs() < 1e-6);
    }

    #[test]
    fn the_baseline_is_the_mean_of_the_others() {
        let got = advantages(&[1.0, 2.0, 6.0, 5.0, 5.0, 5.0], 3);
        assert_eq!(got, [-3.0, -1.5, 4.5, 0.0, 0.0, 0.0]);
        let sum: f32 = got.iter().sum();
        assert_eq!(sum, 0.0, "the advantages of an image add up to nothing");
    }
}
