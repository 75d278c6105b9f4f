//! How far a caption can be trusted: its signals, and the choice by evidence.
//!
//! [`recognition`](crate::model::recognition) says what a confidence is; here is measured what it is computed from.
//!
//! The **evidence** for a caption is the mean probability of its content words, by the detectors of words: the share of
//! them that people are expected to use of the picture. A word without a detector is rare, and counts as
//! [`UNDETECTED`]. It also helps to choose: among the sentences that a search has found, those that differ in a noun are
//! nearly as likely as each other to the decoder, and the detectors, which look at the whole picture and know nothing of
//! language, break the tie:
//!
//! ```text
//! score(s) = log p(s) / length(s)^a + weight x evidence(s)
//! ```

use std::collections::BTreeMap;

use super::search::Search;
use super::sentence::Sentence;
use super::{Caption, agreement};
use crate::data::Vocabulary;
use crate::data::function_words::is_content;
use crate::data::vocabulary::END;
use crate::model::recognition::{Recognition, Seen, Signal};

/// The evidence for a word that has no detector because it is rare.
const UNDETECTED: f64 = 0.02;

/// The evidence for the words of one picture.
pub(super) struct Evidence<'a> {
    vocabulary: &'a Vocabulary,
    recognition: &'a Recognition,
    seen: &'a Seen,
}

impl<'a> Evidence<'a> {
    pub(super) fn new(
        vocabulary: &'a Vocabulary,
        recognition: &'a Recognition,
        seen: &'a Seen,
    ) -> Self {
        Evidence {
            vocabulary,
            recognition,
            seen,
        }
    }

    /// The mean probability of the sentence's content words; 0 where it has none.
    pub(super) fn of(&self, sentence: &Sentence) -> f64 {
        let ids = sentence.ids().filter(|&id| id != END as usize);
        let content = ids.filter(|&id| self.vocabulary.word(id as u32).is_some_and(is_content));
        let p: Vec<f64> = content.map(|id| self.probability(id as u32)).collect();
        p.iter().sum::<f64>() / p.len().max(1) as f64
    }

    /// The probability that people use the word of the picture. A word for a kind of animal is as likely as its kind where
    /// that is less.
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

    /// The signals of a sentence that a search found together with `others`, which it is one of.
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

    /// The caption of a sentence that was found together with `others`, with its confidence: the probability that the
    /// picture is a photograph and the sentence mostly right.
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
