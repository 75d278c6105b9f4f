//! The dev split: the loss of its captions, and scores of captions that the model generates freely.
//!
//! The loss says how well the model predicts each word when it is given the words before it as people wrote them. When it
//! speaks on its own it is given its own words, mistakes included; CIDEr and BLEU of such captions say how well that goes.

use std::collections::HashSet;

use super::batches::{Batch, Samples};
use super::config::{DevConfig, DevScore};
use super::features::FeatureCache;
use super::record::{Looked, SHOWN};
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
    /// Other losses by name: each teacher's, in the stage `distill`.
    pub parts: Vec<(String, f64)>,
    /// Each image's name and generated caption.
    pub captions: Vec<Hypothesis>,
    /// Where an attention decoder looked in a few of the images.
    pub looked: Vec<Looked>,
}

impl Evaluation {
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
        let shown = match captioner.attention_grid() {
            Some(_) => self.shown(config),
            None => Vec::new(),
        };
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
                    attention: shown.iter().any(|at| (first..first + wanted).contains(at)),
                    ..how
                };
                for found in threads::run(|| search(captioner, &image, &how))? {
                    let best = found.into_iter().next();
                    let image = self.samples.name(captions.len()).to_string();
                    if let Some(best) = best.as_ref().filter(|_| shown.contains(&captions.len())) {
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
        Ok(Evaluation {
            loss: (sum / words.max(1) as f64) as f32,
            cider: Some(scores.cider),
            bleu4: Some(scores.bleu4),
            images: captions.len(),
            distinct: captions
                .iter()
                .map(|c| &c.text)
                .collect::<HashSet<_>>()
                .len(),
            parts: Vec::new(),
            captions,
            looked,
        })
    }

    /// How many images are captioned.
    fn captioned(&self, config: &DevConfig) -> usize {
        match config.images {
            0 => self.samples.len(),
            most => most.min(self.samples.len()),
        }
    }

    /// The images, from all over those that are captioned, whose captions are followed in the report.
    pub(super) fn shown(&self, config: &DevConfig) -> Vec<usize> {
        let captioned = self.captioned(config);
        let count = SHOWN.min(captioned);
        (0..count).map(|i| i * captioned / count).collect()
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
