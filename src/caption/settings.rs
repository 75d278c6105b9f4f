//! The settings of a search, and how they rank words and sentences.

use super::sentence::Sentence;
use crate::data::vocabulary::{END, PAD, START, UNKNOWN};
use crate::error::{Error, Result};
use crate::ops::{Allowed, Likeliest, top_k};
use crate::tensor::Tensor;

/// Settings of a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Search {
    /// The number of sentences that are extended at a time, 1 to 1000; 1 is greedy search.
    pub beam: usize,
    /// The largest number of sentences that are returned; at most `beam`.
    pub n_best: usize,
    /// The exponent `a` in the score `log p / length^a`: 0 favours short sentences, 1 long ones.
    pub length_penalty: f64,
    /// The largest number of words in a sentence.
    pub max_words: usize,
    /// The factor of the log-probability of words that the sentence contains already, at least 1; 1 changes nothing.
    /// After Keskar et al. (2019, arXiv 1909.05858).
    pub repetition_penalty: f64,
    /// The length of the n-grams that may not occur twice in a sentence; 0 allows all, 3 is trigram blocking (Paulus et
    /// al., 2017, arXiv 1705.04304).
    pub no_repeat_ngram: usize,
    /// The number of groups of equal width that the beam is cut into, a divisor of `beam`. 1 is ordinary beam search,
    /// more is diverse beam search (Vijayakumar et al., 2016, arXiv 1610.02424).
    pub beam_groups: usize,
    /// The cost of a word, in units of log-probability, for each sentence of an earlier group that is extended by it at
    /// the same step. It is above 0 if there are several groups, for otherwise all of them would find the same
    /// sentences.
    pub diversity: f64,
    /// The measure by which the best sentences are chosen.
    pub choose: Choosing,
    /// Whether captions get a confidence, and whether evidence and recognition influence the choice. Without effect
    /// unless the model has been calibrated (`glimpse calibrate`).
    pub judge: bool,
    /// The weight of the evidence when the likeliest sentences are chosen: the amount added to the score of a sentence
    /// all of whose content words are certain; 0 adds nothing.
    pub evidence: f64,
    /// The strength with which words for kinds of animals follow what the encoder recognises. 0 is not at all; 1
    /// multiplies the probability of a word by the ratio of its kind's probability to the likeliest kind's.
    pub recognition: f64,
    /// Whether each word is returned with the attention weights that it was chosen with, if the decoder attends.
    pub attention: bool,
}

/// The measure by which the best sentences are chosen from those that a search has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choosing {
    /// `log p / length^a`.
    #[default]
    Likeliest,
    /// Similarity to the `beam` likeliest sentences, weighted by their probabilities with the same length penalty
    /// (minimum Bayes risk).
    Agreement,
}

impl Default for Search {
    fn default() -> Self {
        Search {
            beam: 5,
            n_best: 1,
            length_penalty: 0.7,
            max_words: 20,
            repetition_penalty: 1.0,
            no_repeat_ngram: 0,
            beam_groups: 1,
            diversity: 0.5,
            choose: Choosing::Likeliest,
            judge: true,
            evidence: 5.0,
            recognition: 2.0,
            attention: false,
        }
    }
}

impl Search {
    /// Refuses settings that make no sense.
    ///
    /// # Errors
    /// If a setting makes no sense; the message says what to choose instead.
    pub fn check(&self) -> Result<()> {
        let Search { beam, n_best, .. } = self;
        if !(1..=1000).contains(beam) {
            return refuse(format_args!("a beam of {beam}: take 1 to 1000"));
        }
        if !(1..=*beam).contains(n_best) {
            return refuse(format_args!(
                "the best {n_best} of a beam of {beam}: take 1 to {beam}, or a wider beam"
            ));
        }
        if self.max_words == 0 || !self.length_penalty.is_finite() {
            return refuse(format_args!(
                "a caption needs at least one word and a finite length penalty"
            ));
        }
        let penalty = self.repetition_penalty;
        if !(penalty >= 1.0 && penalty.is_finite()) {
            return refuse(format_args!(
                "a repetition penalty of {penalty}: take 1, which is none, or more"
            ));
        }
        let at_least_0 = |x: f64| x >= 0.0 && x.is_finite();
        if !at_least_0(self.evidence) || !at_least_0(self.recognition) {
            return refuse(format_args!(
                "evidence {} and recognition {}: take 0, which is none, or more",
                self.evidence, self.recognition
            ));
        }
        let (groups, diversity) = (self.beam_groups, self.diversity);
        if groups == 0 || !beam.is_multiple_of(groups) {
            return refuse(format_args!(
                "{groups} groups in a beam of {beam}: take a number that divides the beam"
            ));
        }
        if groups > 1 && !(diversity > 0.0 && diversity.is_finite()) {
            return refuse(format_args!(
                "a diversity of {diversity} with {groups} groups: take one above 0, or a single group"
            ));
        }
        Ok(())
    }

    /// Returns the words that may follow each row of `logits`, likeliest first. Special tokens are excluded; at the
    /// first step so is the end mark, so no caption is empty. `touched` is the number of words of a row that penalties
    /// may lower.
    pub(super) fn likeliest(
        &self,
        logits: &Tensor,
        first: bool,
        ends: bool,
        touched: usize,
    ) -> Result<Vec<Likeliest>> {
        let [pad, start, unknown, end] = [PAD, START, UNKNOWN, END].map(|word| word as usize);
        // At most one of the first `beam + 1` is the end.
        match (ends, first) {
            (true, _) => top_k(logits, 1, Allowed::Only(end)),
            (false, true) => top_k(
                logits,
                self.beam + touched,
                Allowed::Except(&[pad, start, unknown, end]),
            ),
            (false, false) => top_k(
                logits,
                self.beam + 1 + touched,
                Allowed::Except(&[pad, start, unknown]),
            ),
        }
    }

    /// Returns the number of sentences that the final choice is made from.
    pub(super) fn candidates(&self) -> usize {
        match self.choose {
            Choosing::Likeliest if !self.judge => self.n_best,
            _ => self.beam,
        }
    }

    /// Returns the score by which sentences are ranked.
    pub(super) fn score(&self, sentence: &Sentence) -> f64 {
        sentence.total / (sentence.words.len().max(1) as f64).powf(self.length_penalty)
    }

    /// Sorts sentences, best first; finished ones come before those that were cut.
    pub(super) fn rank(&self, sentences: &mut [Sentence]) {
        sentences.sort_by(|a, b| {
            let by_score = || self.score(b).total_cmp(&self.score(a));
            b.finished.cmp(&a.finished).then_with(by_score)
        });
    }
}

fn refuse(what: std::fmt::Arguments) -> Result<()> {
    Err(Error::usage(what))
}
