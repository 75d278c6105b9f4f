//! Recognition: detectors on the encoder's features, which judge a picture independently of the decoder.
//!
//! A decoder generates a caption for every picture, even for a blank page. Two linear layers on the encoder's pooled
//! features `f` `[F]` estimate how far the caption can be trusted. There is a detector for each frequent word, one for
//! each kind of animal, one for photographs, and one for pictures like those of the training (familiarity). They are
//! trained after the captioner, by logistic regression (`crate::train::calibrate`):
//!
//! ```text
//! y = V f + c                                            y [R]: the R directions in which features vary most
//! p(word w is used for the picture) = sigmoid(d[w])       d = D y + b: a row for each detector
//! p(an animal of kind k is in it)  = sigmoid(d[k])
//! p(it is a photograph)            = sigmoid(d[photograph])
//! familiarity                      = d[familiar]         log-odds that it comes from the captioned pictures rather than
//!                                                        from other photographs
//! ```
//!
//! The detectors of words are those of "From captions to visual concepts and back" (Fang et al., 2015, arXiv 1411.4952),
//! here with labels for whole pictures and one linear layer.
//!
//! # Confidence
//!
//! The confidence of a caption is the probability that at least half of its content words are words that people used for
//! the picture:
//!
//! ```text
//! confidence = p(it is a photograph) x sigmoid(offset + sum over signals s of weight[s] value[s])
//! ```
//!
//! The weights are those of a logistic regression on pictures with people's captions that neither network was trained on.
//! The [`Signal`]s are measurements of the caption.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::nn::{Linear, Module, Role};
use crate::ops;
use crate::tensor::{Device, Tensor};

/// A measurement of a caption, from which its confidence is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signal {
    /// The mean log-probability of its tokens, the end mark included.
    LogProb,
    /// The number of its words, the end mark included.
    Words,
    /// The mean probability of its content words, by the detectors of words.
    Evidence,
    /// Its mean similarity to the other sentences that the search found, weighted by their probability.
    Agreement,
    /// The log-odds that the picture is like those that the captioner was trained on.
    Familiarity,
}

impl Signal {
    /// All signals.
    pub const ALL: [Signal; 5] = [
        Signal::LogProb,
        Signal::Words,
        Signal::Evidence,
        Signal::Agreement,
        Signal::Familiarity,
    ];
}

/// The logistic regression from signals to the chance that a caption is mostly right.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confidence {
    /// The log-odds where all signals are 0.
    pub offset: f64,
    /// The change of the log-odds for each unit of a signal.
    pub weights: BTreeMap<Signal, f64>,
}

impl Confidence {
    /// The probability that a caption with these `signals` of a photograph is mostly right.
    pub fn probability(&self, signals: &BTreeMap<Signal, f64>) -> f64 {
        let part = |(signal, weight): (&Signal, &f64)| weight * signals.get(signal).unwrap_or(&0.0);
        sigmoid(self.offset + self.weights.iter().map(part).sum::<f64>())
    }
}

/// `1 / (1 + e^-x)`
pub(crate) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// A kind of animal, and the words for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kind {
    /// Its name: `cat`.
    pub name: String,
    /// The ids of the words: those of `cat`, `cats`, `kitten`.
    pub words: Vec<u32>,
}

/// The part of a file's description about a [`Recognition`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecognitionConfig {
    /// The number of directions that features are reduced to.
    pub rank: usize,
    /// The ids of the words that have a detector, ascending.
    pub words: Vec<u32>,
    /// The kinds of animals that have a detector.
    pub kinds: Vec<Kind>,
    /// The regression from signals to confidence.
    pub confidence: Confidence,
}

/// Number of detectors besides those of words and of kinds: one for photographs and one for familiarity.
const QUESTIONS: usize = 2;

impl RecognitionConfig {
    /// The number of detectors: of words, of kinds, of photographs, and of familiar pictures.
    pub fn detectors(&self) -> usize {
        self.words.len() + self.kinds.len() + QUESTIONS
    }

    /// Checks the description.
    ///
    /// # Errors
    /// If ids are not ascending or not below `vocabulary`, the rank is not 1 to `features`, a kind has no name, or a
    /// number is not finite.
    pub fn check(&self, vocabulary: usize, features: usize) -> Result<()> {
        let refuse = |what: &str| Err(Error::value("recognition", what));
        if !(1..=features).contains(&self.rank) {
            return refuse("its rank is 0 or above the number of features");
        }
        if !self.words.is_sorted_by(|a, b| a < b) {
            return refuse("the ids of its words are not in ascending order");
        }
        let kinds = self.kinds.iter().flat_map(|kind| &kind.words);
        if self
            .words
            .iter()
            .chain(kinds)
            .any(|&id| id as usize >= vocabulary)
        {
            return refuse("one of its words is not in the vocabulary");
        }
        let named = |kind: &Kind| !kind.name.is_empty() && !kind.name.contains(char::is_control);
        if !self.kinds.iter().all(named) {
            return refuse("one of its kinds has no name");
        }
        let Confidence { offset, weights } = &self.confidence;
        if !(offset.is_finite() && weights.values().all(|weight| weight.is_finite())) {
            return refuse("its confidence holds values that are not finite numbers");
        }
        Ok(())
    }

    /// The number of elements of the tensors.
    pub(super) fn elements(&self, features: usize) -> u128 {
        let [rank, features, rows] = [self.rank, features, self.detectors()].map(|n| n as u128);
        rank * (features + 1) + rows * (rank + 1)
    }
}

/// Linear layers that recognise what a picture shows and how far captions of it can be trusted.
#[derive(Clone)]
pub struct Recognition {
    config: RecognitionConfig,
    /// `[R, F]`
    basis: Linear,
    /// `[words + kinds + 2, R]`
    detectors: Linear,
}

/// The results of recognition for one picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Recognised {
    /// For each word with a detector, the probability that people use it for the picture.
    pub words: Vec<f64>,
    /// For each kind of animal, the probability that the picture shows one.
    pub kinds: Vec<f64>,
    /// The probability that it is a photograph.
    pub photograph: f64,
    /// The log-odds that it is like the pictures that the captioner was trained on, clamped to -10..10.
    pub familiarity: f64,
}

impl Recognition {
    /// Recognition with the layers `basis` `[R, F]` and `detectors` `[K, R]`, where `K` is
    /// [`RecognitionConfig::detectors`].
    ///
    /// # Errors
    /// If the layers' sizes are not those of `config`.
    pub fn new(config: RecognitionConfig, basis: &Linear, detectors: &Linear) -> Result<Self> {
        let rows = config.detectors();
        let features = basis.weight.dims().get(1).copied().unwrap_or(0);
        let want = [[config.rank, features], [rows, config.rank]];
        for (layer, want) in [basis, detectors].into_iter().zip(want) {
            if layer.weight.dims() != want || layer.bias.dims() != [want[0]] {
                let got = layer.weight.shape();
                return Err(Error::shape("recognition", format_args!("{want:?}"), got));
            }
        }
        let to_cpu = |layer: &Linear| -> Result<Linear> {
            Ok(Linear {
                weight: layer.weight.detach().to(&Device::Cpu)?,
                bias: layer.bias.detach().to(&Device::Cpu)?,
            })
        };
        Ok(Recognition {
            basis: to_cpu(basis)?,
            detectors: to_cpu(detectors)?,
            config,
        })
    }

    /// Recognition with zeros for weights, which are then loaded from a file.
    pub(super) fn blank(config: RecognitionConfig, features: usize) -> Self {
        let zeros = |out: usize, inputs: usize| Linear {
            weight: Tensor::zeros(&[out, inputs]),
            bias: Tensor::zeros(&[out]),
        };
        Recognition {
            basis: zeros(config.rank, features),
            detectors: zeros(config.detectors(), config.rank),
            config,
        }
    }

    /// Its words, kinds and confidence.
    pub fn config(&self) -> &RecognitionConfig {
        &self.config
    }

    /// Sets the regression from signals to confidence.
    pub fn set_confidence(&mut self, confidence: Confidence) {
        self.config.confidence = confidence;
    }

    /// Recognises what pictures show, from their features: pooled `[N, F]`, or maps `[N, P, F]`, of which the means are
    /// taken.
    ///
    /// # Errors
    /// If the features are those of another encoder.
    pub fn recognise(&self, features: &Tensor) -> Result<Vec<Recognised>> {
        let pooled = pooled(features)?;
        let log_odds = self
            .detectors
            .forward(&self.basis.forward(&pooled)?)?
            .to(&Device::Cpu)?;
        let rows = log_odds.data().chunks(self.config.detectors());
        Ok(rows.map(|row| self.recognised(row)).collect())
    }

    fn recognised(&self, log_odds: &[f32]) -> Recognised {
        let (words, rest) = log_odds.split_at(self.config.words.len());
        let (kinds, rest) = rest.split_at(self.config.kinds.len());
        let probabilities =
            |log_odds: &[f32]| log_odds.iter().map(|&x| sigmoid(x.into())).collect();
        Recognised {
            words: probabilities(words),
            kinds: probabilities(kinds),
            photograph: sigmoid(rest[0].into()),
            familiarity: f64::from(rest[1]).clamp(-10.0, 10.0),
        }
    }
}

/// The mean over the positions of maps `[N, P, F]`; features that are pooled already, `[N, F]`, are returned unchanged.
pub(crate) fn pooled(features: &Tensor) -> Result<Tensor> {
    match *features.dims() {
        [n, p, f] => ops::global_avg_pool(&features.reshape(&[n, p, 1, f])?),
        _ => Ok(features.clone()),
    }
}

impl Module for Recognition {
    /// All tensors have the role of a statistic: they are saved with the model, but no optimizer updates them.
    fn visit(&mut self, prefix: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        let layers = [
            ("basis", &mut self.basis),
            ("detectors", &mut self.detectors),
        ];
        for (name, layer) in layers {
            f(
                &format!("{prefix}{name}.weight"),
                Role::Statistic,
                &mut layer.weight,
            );
            f(
                &format!("{prefix}{name}.bias"),
                Role::Statistic,
                &mut layer.bias,
            );
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::ops::testing::random;

    /// A recognition with random layers for these words and kinds, of `features` elements.
    pub(crate) fn recognition(words: &[u32], kinds: Vec<Kind>, features: usize) -> Recognition {
        let config = RecognitionConfig {
            rank: 2,
            words: words.to_vec(),
            kinds,
            confidence: Confidence {
                offset: 0.5,
                weights: [(Signal::LogProb, 1.0), (Signal::Evidence, 2.0)].into(),
            },
        };
        let layer = |out: usize, inputs: usize, seed: u64| Linear {
            weight: random(&[out, inputs], seed),
            bias: random(&[out], seed + 1),
        };
        let rows = config.detectors();
        Recognition::new(config, &layer(2, features, 1), &layer(rows, 2, 3)).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::recognition;
    use super::*;
    use crate::data::weights::NumberFormat;
    use crate::model::Captioner;
    use crate::ops::testing::{device, here, on_every_device, random};

    fn kinds() -> Vec<Kind> {
        vec![Kind {
            name: "cat".into(),
            words: vec![7, 9],
        }]
    }

    #[test]
    fn the_layers_are_what_their_formula_says() {
        on_every_device(|| {
            let mut recognition = recognition(&[4, 5, 6], kinds(), 5);
            let (basis, detectors) = (recognition.basis.clone(), recognition.detectors.clone());
            recognition.to(&device()).unwrap();
            let f = random(&[3, 5], 8);
            let seen = recognition.recognise(&here(f.clone())).unwrap();
            assert_eq!(seen.len(), 3);
            for (row, seen) in f.data().chunks(5).zip(&seen) {
                let apply = |layer: &Linear, x: &[f64]| -> Vec<f64> {
                    let rows = layer.weight.data().chunks(x.len()).zip(layer.bias.data());
                    let dot = |(row, b): (&[f32], &f32)| {
                        row.iter()
                            .zip(x)
                            .map(|(w, x)| f64::from(*w) * x)
                            .sum::<f64>()
                            + f64::from(*b)
                    };
                    rows.map(dot).collect()
                };
                let row: Vec<f64> = row.iter().map(|&v| v.into()).collect();
                let odds = apply(&detectors, &apply(&basis, &row));
                let close =
                    |got: f64, want: f64| assert!((got - want).abs() < 1e-5, "{got} {want}");
                for (p, d) in seen.words.iter().chain(&seen.kinds).zip(&odds) {
                    close(*p, sigmoid(*d));
                }
                close(seen.photograph, sigmoid(odds[4]));
                close(seen.familiarity, odds[5]);
            }
            // A map counts by its mean.
            let map = Tensor::from_vec([f.data(), f.data()].concat(), &[2, 3, 5]).unwrap();
            let of_map = recognition.recognise(&here(map)).unwrap();
            assert_eq!(of_map.len(), 2);
            assert_eq!(of_map[0], of_map[1]);
        });
    }

    #[test]
    fn confidence_adds_up_what_the_signals_say() {
        let confidence = Confidence {
            offset: -1.0,
            weights: [(Signal::LogProb, 2.0), (Signal::Words, -0.5)].into(),
        };
        let signals = [
            (Signal::LogProb, 1.5),
            (Signal::Words, 2.0),
            (Signal::Evidence, 9.0),
        ]
        .into();
        assert!((confidence.probability(&signals) - sigmoid(1.0)).abs() < 1e-12);
    }

    #[test]
    fn a_file_keeps_it_and_no_optimizer_moves_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.safetensors");
        let mut captioner = Captioner::bundled().unwrap();
        let features = captioner.encoder.config().features();
        captioner.recognition = Some(recognition(&[4, 5, 6], kinds(), features));
        captioner.save(&path, NumberFormat::F32).unwrap();
        let mut read = Captioner::load(&path).unwrap();
        read.track(true);
        let (before, after) = (captioner.recognition.unwrap(), read.recognition.unwrap());
        assert_eq!(before.config(), after.config());
        assert_eq!(
            before.detectors.weight.data(),
            after.detectors.weight.data()
        );
        assert!(!after.basis.weight.is_tracked());
    }

    #[test]
    fn descriptions_that_make_no_sense_are_refused() {
        let good = recognition(&[4, 5, 6], kinds(), 5).config().clone();
        good.check(10, 5).unwrap();
        type Change = fn(&mut RecognitionConfig);
        let wrong: [Change; 7] = [
            |c| c.rank = 0,
            |c| c.rank = 6,
            |c| c.words = vec![5, 4],
            |c| c.words = vec![4, 10],
            |c| c.kinds[0].words = vec![10],
            |c| c.kinds[0].name = "a\u{1b}".into(),
            |c| c.confidence.offset = f64::NAN,
        ];
        for change in wrong {
            let mut config = good.clone();
            change(&mut config);
            assert!(config.check(10, 5).is_err(), "{config:?}");
        }
    }
}
