//! Evaluation on the dev split: the loss of its captions, and scores of captions that the model generates freely.
//!
//! The loss measures the prediction of each word given the human caption's words before it (teacher forcing). A
//! generated caption continues the model's own words, mistakes included; CIDEr and BLEU measure such captions.

use std::collections::HashMap;

use super::batches::{Batch, Samples};
use super::config::{DevConfig, DevScore};
use super::features::FeatureCache;
use crate::caption::{Caption, Search, search};
use crate::cpu::threads;
use crate::data::vocabulary::{END, PAD};
use crate::error::Result;
use crate::metrics::{self, Hypothesis, References};
use crate::model::Captioner;
use crate::nn::Mode;
use crate::ops::{self, CrossEntropy};
use crate::tensor::Tensor;

/// Mini-batch size of the evaluation, in images.
const BATCH: usize = 50;

/// Number of images whose captions are followed through the run.
const FOLLOWED: usize = 6;

/// Smallest number of images for which it is checked whether the captions are all alike.
const FEW: usize = 5;

/// The result of an evaluation on the dev split.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// Mean cross-entropy per word, in nats, over all captions, without label smoothing; in the stage `distill` the
    /// loss per view.
    pub loss: f32,
    /// CIDEr of the generated captions, times 100.
    pub cider: Option<f64>,
    /// BLEU-4 of the generated captions, times 100.
    pub bleu4: Option<f64>,
    /// Number of images that were captioned; in the stage `distill`, of views that were evaluated.
    pub images: usize,
    /// Number of distinct captions among them.
    pub distinct: usize,
    /// Number of images with the most frequent caption.
    pub commonest: usize,
    /// Whether the captions are nearly all alike: nine of ten images have the same one, and human captions vary more.
    pub alike: bool,
    /// A few images with generated and human captions; every evaluation shows the same images.
    pub shown: Vec<Shown>,
    /// Other losses by name; in the stage `distill`, each teacher's.
    pub parts: Vec<(String, f64)>,
    /// Name and generated caption of each image.
    pub captions: Vec<Hypothesis>,
    /// Attention weights of an attention decoder on a few of the images.
    pub looked: Vec<AttentionMaps>,
}

/// Attention weights for each word of an image's caption.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionMaps {
    /// Name of the image.
    pub image: String,
    /// The words, each with its weights over the positions of the map, in row-major order.
    pub words: Vec<(String, Vec<f32>)>,
}

/// An image with its generated and human captions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Name of the image.
    pub image: String,
    /// Generated caption.
    pub text: String,
    /// Human captions.
    pub people: Vec<String>,
}

impl Evaluation {
    /// Determines whether the captions are all alike, compared with the human captions of the same images.
    fn compare(&mut self, people: &References) {
        let texts = self.captions.iter().map(|c| c.text.as_str());
        (self.distinct, self.commonest) = variety(texts);
        let people = people.values().filter_map(|all| all.first());
        let (_, common) = variety(people.map(String::as_str));
        self.alike = self.images >= FEW
            && 10 * self.commonest >= 9 * self.images
            && 2 * common < self.images;
    }

    /// Returns the score `which`; NaN if it was not computed.
    pub fn score(&self, which: DevScore) -> f64 {
        match which {
            DevScore::Cider => self.cider.unwrap_or(f64::NAN),
            DevScore::Bleu4 => self.bleu4.unwrap_or(f64::NAN),
            DevScore::Loss => f64::from(self.loss),
        }
    }
}

/// Images and captions of the dev split.
pub(super) struct Dev {
    pub(super) samples: Samples,
    /// Cached features of a frozen encoder.
    pub(super) features: Option<FeatureCache>,
}

impl Dev {
    /// Evaluates `captioner`, whose parameters should not be tracked.
    ///
    /// # Errors
    /// Fails if an image cannot be read, or the GPU fails.
    pub(super) fn evaluate(
        &self,
        captioner: &Captioner,
        config: &DevConfig,
        max_words: usize,
    ) -> Result<Evaluation> {
        let captioned = self.captioned(config);
        let followed = self.followed(config);
        let attends = captioner.attention_grid().is_some();
        let mut looked = Vec::new();
        let how = Search {
            beam: config.beam,
            max_words,
            ..Search::default()
        };
        let (mut sum, mut words) = (0.0f64, 0usize);
        let mut captions = Vec::with_capacity(captioned);
        for first in (0..self.samples.len()).step_by(BATCH) {
            let batch = self.samples.run(first, BATCH);
            let image = self.image(captioner, &batch)?;
            let loss = teacher_forced_loss(captioner, &image, &batch)?;
            let n = batch.targets.iter().filter(|&&t| t != PAD as usize).count();
            sum += f64::from(loss) * n as f64;
            words += n;
            let wanted = captioned.saturating_sub(first).min(batch.images.len());
            if wanted > 0 {
                let image = image.narrow(0, wanted)?;
                let how = Search {
                    attention: attends
                        && followed
                            .iter()
                            .any(|at| (first..first + wanted).contains(at)),
                    ..how
                };
                for found in threads::run(|| search(captioner, &image, &how))? {
                    let best = found.into_iter().next();
                    let image = self.samples.name(captions.len()).to_string();
                    let is_shown = attends && followed.contains(&captions.len());
                    if let Some(best) = best.as_ref().filter(|_| is_shown) {
                        looked.push(looks(captioner, image.clone(), best));
                    }
                    let text = best.map_or_else(String::new, |c| c.text);
                    captions.push(Hypothesis { image, text });
                }
            }
        }
        let references: References = (0..captioned)
            .map(|i| {
                (
                    self.samples.name(i).to_string(),
                    self.samples.captions(i).to_vec(),
                )
            })
            .collect();
        let scores = metrics::score(&captions, &references)?;
        let show = |&at: &usize| Shown {
            image: captions[at].image.clone(),
            text: captions[at].text.clone(),
            people: self.samples.captions(at).to_vec(),
        };
        let shown = followed.iter().map(show).collect();
        let mut evaluation = Evaluation {
            loss: (sum / words.max(1) as f64) as f32,
            cider: Some(scores.cider),
            bleu4: Some(scores.bleu4),
            images: captions.len(),
            shown,
            captions,
            looked,
            ..Evaluation::default()
        };
        evaluation.compare(&references);
        Ok(evaluation)
    }

    /// Returns the number of images that are captioned.
    fn captioned(&self, config: &DevConfig) -> usize {
        match config.images {
            0 => self.samples.len(),
            most => most.min(self.samples.len()),
        }
    }

    /// Returns the images whose captions are followed through the run, spread evenly over those that are captioned.
    pub(super) fn followed(&self, config: &DevConfig) -> Vec<usize> {
        let captioned = self.captioned(config);
        let count = FOLLOWED.min(captioned);
        let place = |k: usize| (2 * k + 1) * captioned / (2 * count);
        (0..count).map(place).collect()
    }

    /// Returns the decoder's image input for a batch: `[N, C]` or `[N, P, C]`.
    fn image(&self, captioner: &Captioner, batch: &Batch) -> Result<Tensor> {
        match &self.features {
            Some(features) => features.rows(&batch.images),
            None => captioner.encode(&self.samples.tensor(&batch.images, captioner.recipe)?),
        }
    }
}

/// Collects the attention weights for the words of a caption; the end mark is left out.
fn looks(captioner: &Captioner, image: String, caption: &Caption) -> AttentionMaps {
    let end = captioner.vocabulary.word(END);
    let words = caption.tokens.iter();
    let words = words.filter(|token| Some(token.text.as_str()) != end);
    AttentionMaps {
        image,
        words: words
            .filter_map(|token| Some((token.text.clone(), token.attention.clone()?)))
            .collect(),
    }
}

fn teacher_forced_loss(captioner: &Captioner, image: &Tensor, batch: &Batch) -> Result<f32> {
    let decoder = &captioner.decoder;
    let forced = decoder.forward(image, &batch.image_of, &batch.words, Mode::Inference)?;
    let options = CrossEntropy {
        ignore_index: Some(PAD as usize),
        label_smoothing: 0.0,
    };
    ops::cross_entropy(&forced.logits, &batch.targets, options)?.item()
}

/// Counts the distinct `texts`, and the occurrences of the most frequent one.
fn variety<'a>(texts: impl Iterator<Item = &'a str>) -> (usize, usize) {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for text in texts {
        *counts.entry(text).or_default() += 1;
    }
    (counts.len(), counts.values().copied().max().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(texts: &[&str], people: &[&str]) -> Evaluation {
        let captions = texts.iter().enumerate().map(|(i, text)| Hypothesis {
            image: i.to_string(),
            text: (*text).into(),
        });
        let people = people.iter().enumerate();
        let people: References = people
            .map(|(i, text)| (i.to_string(), vec![(*text).into()]))
            .collect();
        let mut evaluation = Evaluation {
            images: texts.len(),
            captions: captions.collect(),
            ..Evaluation::default()
        };
        evaluation.compare(&people);
        evaluation
    }

    #[test]
    fn captions_are_alike_where_people_are_not() {
        let people: Vec<String> = (0..10).map(|i| format!("a dog {i}")).collect();
        let people: Vec<&str> = people.iter().map(String::as_str).collect();
        let mut said = ["a man"; 10];
        let same = compared(&said, &people);
        assert!(same.alike && same.distinct == 1 && same.commonest == 10);
        said[0] = "a cat";
        assert!(compared(&said, &people).alike);
        said[1] = "a bird";
        let some = compared(&said, &people);
        assert!(!some.alike && some.distinct == 3 && some.commonest == 8);
        // Human captions that are all alike set the standard, and two pictures are too few to judge.
        assert!(!compared(&["a man"; 10], &["a man"; 10]).alike);
        assert!(!compared(&["a man"; 2], &people[..2]).alike);
    }
}
