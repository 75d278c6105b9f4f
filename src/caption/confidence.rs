//! Confidence in a caption: its signals, and the choice by evidence.
//!
//! [`recognition`](crate::model::recognition) defines the confidence. This module measures the signals that it is
//! computed from.
//!
//! The **evidence** for a caption is the mean probability, according to the word detectors, of its content words. It
//! estimates the fraction of them that people would use of the picture. A word without a detector is rare and counts as
//! [`UNDETECTED`]. Evidence also helps to choose a sentence. The sentences that a search finds often differ in a noun
//! only, and their probabilities are nearly equal. The detectors are computed from the whole picture and do not depend
//! on the decoder, so they can break the tie:
//!
//! ```text
//! score(s) = log p(s) / length(s)^a + weight x evidence(s)
//! ```

use std::collections::BTreeMap;

use super::sentence::Sentence;
use super::settings::Search;
use super::{Caption, agreement};
use crate::data::Vocabulary;
use crate::data::function_words::is_content;
use crate::data::vocabulary::END;
use crate::model::recognition::{Recognised, Recognition, Signal};

/// The evidence for a word that has no detector because it is rare.
const UNDETECTED: f64 = 0.02;

/// Computes the evidence for sentences about one picture.
pub(super) struct Evidence<'a> {
    vocabulary: &'a Vocabulary,
    recognition: &'a Recognition,
    seen: &'a Recognised,
}

impl<'a> Evidence<'a> {
    pub(super) fn new(
        vocabulary: &'a Vocabulary,
        recognition: &'a Recognition,
        seen: &'a Recognised,
    ) -> Self {
        Evidence {
            vocabulary,
            recognition,
            seen,
        }
    }

    /// Returns the mean probability of the sentence's content words; 0 if it has none.
    pub(super) fn of(&self, sentence: &Sentence) -> f64 {
        let ids = sentence.ids().filter(|&id| id != END as usize);
        let content = ids.filter(|&id| self.vocabulary.word(id as u32).is_some_and(is_content));
        let p: Vec<f64> = content.map(|id| self.probability(id as u32)).collect();
        p.iter().sum::<f64>() / p.len().max(1) as f64
    }

    /// Returns the probability that people use the word of the picture. A word for a kind of animal is at most as
    /// likely as that kind.
    fn probability(&self, word: u32) -> f64 {
        let config = self.recognition.config();
        let detected = config
            .words
            .binary_search(&word)
            .map_or(UNDETECTED, |at| self.seen.words[at]);
        let kinds = config.kinds.iter().zip(&self.seen.kinds);
        let of_kind = kinds
            .filter(|(kind, _)| kind.words.contains(&word))
            .map(|(_, p)| *p);
        of_kind.fold(detected, f64::min)
    }

    /// Returns the signals of a sentence. `others` are all sentences that the search found, this one included.
    fn signals(
        &self,
        sentence: &Sentence,
        others: &[Sentence],
        how: &Search,
    ) -> BTreeMap<Signal, f64> {
        let tokens = sentence.words.len().max(1) as f64;
        let value = |signal: Signal| match signal {
            Signal::LogProb => sentence.log_prob() / tokens,
            Signal::Words => tokens,
            Signal::Evidence => self.of(sentence),
            Signal::Agreement => agreement::with(sentence, others, how),
            Signal::Familiarity => self.seen.familiarity,
        };
        Signal::ALL.map(|signal| (signal, value(signal))).into()
    }

    /// Adds the signals and the confidence to the caption of a sentence. `others` are all sentences that the search
    /// found, this one included. The confidence is the probability that the picture is a photograph and that the
    /// sentence is mostly right.
    pub(super) fn judged(
        &self,
        caption: Caption,
        sentence: &Sentence,
        others: &[Sentence],
        how: &Search,
    ) -> Caption {
        let signals = self.signals(sentence, others, how);
        let right = self.recognition.config().confidence.probability(&signals);
        Caption {
            confidence: Some(self.seen.photograph * right),
            signals,
            ..caption
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caption::search::order;
    use crate::caption::sentence::Word;
    use crate::model::recognition::{Kind, sigmoid, testing::recognition};

    /// Words of the vocabulary in the order of their ids from 4 on.
    const WORDS: &str =
        "a a a a a a dog dog dog dog dog runs runs runs runs cat cat cat grass grass zebra";

    fn sentence(vocabulary: &Vocabulary, text: &str, log_prob: f64) -> Sentence {
        let mut sentence = Sentence::default();
        let ids = vocabulary.encode(text).into_iter().chain([END]);
        for id in ids {
            let word = Word {
                id: id as usize,
                log_prob,
                attention: None,
            };
            sentence.push(word, log_prob);
        }
        sentence
    }

    /// Calls `body` with the evidence in a picture that probably shows a cat and grass.
    fn with_evidence(photograph: f64, body: impl Fn(&Evidence, &Vocabulary)) {
        let vocabulary = Vocabulary::build([WORDS], 1).unwrap();
        let id = |word: &str| vocabulary.id(word);
        let mut detected = vec![id("dog"), id("runs"), id("cat"), id("grass")];
        detected.sort_unstable();
        let kind = |name: &str| Kind {
            name: name.into(),
            words: vec![id(name)],
        };
        let recognition = recognition(&detected, vec![kind("dog"), kind("cat")], 5);
        let probability = |word: u32| match vocabulary.word(word) {
            Some("dog") => 0.8,
            Some("grass") => 0.6,
            Some("cat") => 0.5,
            _ => 0.2,
        };
        let seen = Recognised {
            words: detected.iter().map(|&word| probability(word)).collect(),
            kinds: vec![0.1, 0.9],
            photograph,
            familiarity: 0.0,
        };
        body(
            &Evidence::new(&vocabulary, &recognition, &seen),
            &vocabulary,
        );
    }

    #[test]
    fn evidence_is_the_mean_probability_of_content_words() {
        with_evidence(1.0, |evidence, vocabulary| {
            let of = |text: &str| evidence.of(&sentence(vocabulary, text, -1.0));
            let close = |got: f64, want: f64| assert!((got - want).abs() < 1e-12, "{got} {want}");
            close(of("a cat runs"), (0.5 + 0.2) / 2.0);
            // A dog is no likelier than its kind.
            close(of("a dog"), 0.1);
            // A word without a detector.
            close(of("a zebra runs"), (UNDETECTED + 0.2) / 2.0);
            close(of("a"), 0.0);
        });
    }

    #[test]
    fn evidence_decides_between_sentences_that_are_nearly_as_likely() {
        with_evidence(1.0, |evidence, vocabulary| {
            let [dog, cat] = ["a dog runs", "a cat runs"];
            let candidates = || {
                vec![
                    sentence(vocabulary, dog, -1.0),
                    sentence(vocabulary, cat, -1.05),
                ]
            };
            let first = |weight: f64, evidence: Option<&Evidence>| {
                let how = Search {
                    evidence: weight,
                    ..Search::default()
                };
                order(&how, candidates(), evidence).remove(0)
            };
            assert_eq!(first(3.0, Some(evidence)), candidates()[1]);
            assert_eq!(first(0.0, Some(evidence)), candidates()[0]);
            assert_eq!(first(3.0, None), candidates()[0]);
        });
    }

    #[test]
    fn a_picture_that_is_no_photograph_lowers_the_confidence() {
        let confidence = |photograph: f64| {
            let found = std::cell::Cell::new(0.0);
            with_evidence(photograph, |evidence, vocabulary| {
                let all = [
                    sentence(vocabulary, "a cat runs", -0.5),
                    sentence(vocabulary, "a dog runs", -1.0),
                ];
                let caption = Caption {
                    text: "a cat runs".into(),
                    log_prob: -2.0,
                    confidence: None,
                    tokens: Vec::new(),
                    signals: BTreeMap::new(),
                };
                let judged = evidence.judged(caption, &all[0], &all, &Search::default());
                assert_eq!(judged.signals[&Signal::Words], 4.0);
                assert!((judged.signals[&Signal::LogProb] + 0.5).abs() < 1e-12);
                assert!(judged.signals[&Signal::Agreement] > 0.5);
                found.set(judged.confidence.unwrap());
            });
            found.get()
        };
        // The weights of the recognition: bias 0.5, log-probability 1, evidence 2.
        let right = sigmoid(0.5 - 0.5 + 2.0 * 0.35);
        assert!((confidence(1.0) - right).abs() < 1e-9);
        assert!((confidence(0.1) - 0.1 * right).abs() < 1e-9);
    }
}
