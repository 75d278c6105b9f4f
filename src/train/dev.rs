//! The dev split: the loss of its captions, and scores of captions that the model generates freely.
//!
//! The loss says how well the model predicts each word when it is given the words before it as people wrote them. When it
//! speaks on its own it is given its own words, mistakes included; CIDEr and BLEU of such captions say how well that goes.

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

// Dev images that are looked at together.
const TOGETHER: usize = 50;

/// Images whose captions are followed through the run.
const FOLLOWED: usize = 6;

/// Fewer images than this cannot say that captions are all alike.
const FEW: usize = 5;

/// The result of an evaluation on the dev split.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// The mean cross-entropy of a word, in nats, over all captions, without label smoothing; in the stage `distill` the
    /// loss of a view.
    pub loss: f32,
    /// CIDEr of the generated captions, times 100.
    pub cider: Option<f64>,
    /// BLEU-4 of the generated captions, times 100.
    pub bleu4: Option<f64>,
    /// Images that were captioned, or, in the stage `distill`, views that were looked at.
    pub images: usize,
    /// Different captions among them.
    pub distinct: usize,
    /// Images that have the commonest of the captions.
    pub commonest: usize,
    /// Whether the captions are all alike, or nearly: nine of ten images have the same, and people's captions are not
    /// like that.
    pub alike: bool,
    /// A few images with what the model and people say of them: the same ones at every evaluation.
    pub shown: Vec<Shown>,
    /// Other losses by name: each teacher's, in the stage `distill`.
    pub parts: Vec<(String, f64)>,
    /// Each image's name and generated caption.
    pub captions: Vec<Hypothesis>,
    /// Where an attention decoder looked in a few of the images.
    pub looked: Vec<Looked>,
}

/// Where the model looked for each word of an image's caption.
#[derive(Clone, Debug, PartialEq)]
pub struct Looked {
    /// The image's name.
    pub image: String,
    /// The words, each with the weights of the map's places, row by row.
    pub words: Vec<(String, Vec<f32>)>,
}

/// An image, and what the model and people say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The image's name.
    pub image: String,
    /// The model's caption.
    pub text: String,
    /// People's captions.
    pub people: Vec<String>,
}

impl Evaluation {
    /// Takes note of how alike the captions are, given those that people wrote of the same images.
    fn compare(&mut self, people: &References) {
        let texts = self.captions.iter().map(|c| c.text.as_str());
        (self.distinct, self.commonest) = variety(texts);
        let people = people.values().filter_map(|all| all.first());
        let (_, common) = variety(people.map(String::as_str));
        self.alike = self.images >= FEW
            && 10 * self.commonest >= 9 * self.images
            && 2 * common < self.images;
    }

    /// The score that decides; not a number where it was not computed.
    pub fn score(&self, which: DevScore) -> f64 {
        match which {
            DevScore::Cider => self.cider.unwrap_or(f64::NAN),
            DevScore::Bleu4 => self.bleu4.unwrap_or(f64::NAN),
            DevScore::Loss => f64::from(self.loss),
        }
    }
}

/// The dev split's images and captions.
pub(super) struct Dev {
    pub(super) samples: Samples,
    /// Features of a frozen encoder.
    pub(super) features: Option<FeatureCache>,
}

impl Dev {
    /// Evaluates `captioner`, whose parameters should not be tracked.
    ///
    /// # Errors
    /// Where an image cannot be read, or the GPU fails.
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
        for first in (0..self.samples.len()).step_by(TOGETHER) {
            let batch = self.samples.run(first, TOGETHER);
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

    /// How many images are captioned.
    fn captioned(&self, config: &DevConfig) -> usize {
        match config.images {
            0 => self.samples.len(),
            most => most.min(self.samples.len()),
        }
    }

    /// The images, from all over those that are captioned, whose captions are followed through the run.
    pub(super) fn followed(&self, config: &DevConfig) -> Vec<usize> {
        let captioned = self.captioned(config);
        let count = FOLLOWED.min(captioned);
        let place = |k: usize| (2 * k + 1) * captioned / (2 * count);
        (0..count).map(place).collect()
    }

    /// The images of a batch as the decoder takes them: `[N, C]` or `[N, P, C]`.
    fn image(&self, captioner: &Captioner, batch: &Batch) -> Result<Tensor> {
        match &self.features {
            Some(features) => features.rows(&batch.images),
            None => captioner.encode(&self.samples.tensor(&batch.images, captioner.recipe)?),
        }
    }
}

/// Where the decoder looked for the words of a caption; the end mark is none.
fn looks(captioner: &Captioner, image: String, caption: &Caption) -> Looked {
    let end = captioner.vocabulary.word(END);
    let words = caption.tokens.iter();
    let words = words.filter(|token| Some(token.text.as_str()) != end);
    Looked {
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

/// How many of `texts` are different, and how many are the commonest one.
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
        // Nobody says more than people do, and two pictures say nothing.
        assert!(!compared(&["a man"; 10], &["a man"; 10]).alike);
        assert!(!compared(&["a man"; 2], &people[..2]).alike);
    }
}
