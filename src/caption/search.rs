//! Greedy and beam search.
//!
//! A beam of `B` keeps the `B` likeliest beginnings of a sentence. Each step extends every one of them by every word
//! and keeps the best `B` of the results; sentences that end are set aside. The probability of a sentence falls with
//! every further word, so it cannot compare sentences of different lengths. The final order is therefore by
//!
//! ```text
//! score = log p(sentence) / length^a
//! ```
//!
//! where `a` is the length penalty: 0 favours short sentences, 1 is the mean over words. A beam of one is greedy
//! search.
//!
//! Four refinements are off unless asked for: a penalty for repeated words and a ban on repeated n-grams
//! (`penalties.rs`; both lower `log p` in the score too), diverse groups (`diverse.rs`), and choosing among the best by
//! agreement (`agreement.rs`).

use std::sync::Arc;

use super::Caption;
use super::agreement::by_agreement;
use super::beam::{Beam, Step};
use super::confidence::Evidence;
use super::diverse::Groups;
use super::rules::Rules;
use super::sentence::{Sentence, attention};
use crate::cpu::threads;
use crate::data::vocabulary::{END, PAD, START, UNKNOWN};
use crate::error::{Error, Result};
use crate::model::{Captioner, Decoder};
use crate::ops::{Allowed, Likeliest, top_k};
use crate::tensor::Tensor;

/// Settings of a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Search {
    /// The number of sentences that are extended at a time, 1 to 1000; 1 is greedy search.
    pub beam: usize,
    /// The largest number of sentences that are returned; at most `beam`.
    pub n_best: usize,
    /// The exponent `a` of the length.
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
            evidence: 3.0,
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

    /// Sorts one image's candidates by the measure of choice; finished ones come before those that were cut.
    pub(super) fn order(
        &self,
        candidates: Vec<Sentence>,
        evidence: Option<&Evidence>,
    ) -> Vec<Sentence> {
        let (mut finished, mut cut): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|s| s.finished);
        for part in [&mut finished, &mut cut] {
            match (self.choose, evidence) {
                (Choosing::Agreement, _) => *part = by_agreement(std::mem::take(part), self),
                (Choosing::Likeliest, Some(evidence)) if self.evidence > 0.0 => {
                    let score = |s: &Sentence| self.score(s) + self.evidence * evidence.of(s);
                    let mut scored: Vec<(f64, Sentence)> =
                        part.drain(..).map(|s| (score(&s), s)).collect();
                    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
                    part.extend(scored.into_iter().map(|(_, sentence)| sentence));
                }
                (Choosing::Likeliest, _) => {}
            }
        }
        finished.extend(cut);
        finished
    }
}

fn refuse(what: std::fmt::Arguments) -> Result<()> {
    Err(Error::usage(what))
}

/// Finds the best captions of images: at most `n_best` for each image, best first.
///
/// `features` are `[N, F]`, or the maps `[N, P, C]` that an attention decoder takes. A sentence that has not ended
/// after `max_words` words is cut there; finished sentences are preferred. A caption's log-probabilities are the
/// model's own, without penalties.
///
/// # Errors
/// If the features do not fit the model or the settings make no sense.
pub fn search(captioner: &Captioner, features: &Tensor, how: &Search) -> Result<Vec<Vec<Caption>>> {
    let recognition = captioner.recognition.as_ref().filter(|_| how.judge);
    let how = &Search {
        judge: recognition.is_some(),
        ..*how
    };
    how.check()?;
    let seen = recognition.map_or_else(|| Ok(Vec::new()), |r| r.see(features))?;
    let rules = Rules::new(captioner, &seen, how);
    let found = sentences(&captioner.decoder, features, how, &rules)?;
    let captions = |(image, candidates): (usize, Vec<Sentence>)| -> Result<Vec<Caption>> {
        let evidence = recognition
            .zip(seen.get(image))
            .map(|(recognition, seen)| Evidence::new(&captioner.vocabulary, recognition, seen));
        let ordered = how.order(candidates, evidence.as_ref());
        let best = ordered.iter().take(how.n_best);
        let caption = |sentence: &Sentence| -> Result<Caption> {
            let caption = sentence.caption(captioner)?;
            Ok(match &evidence {
                Some(evidence) => evidence.judged(caption, sentence, &ordered, how),
                None => caption,
            })
        };
        best.map(caption).collect()
    };
    found.into_iter().enumerate().map(captions).collect()
}

/// Finds the ids of the best sentence of each image, the end mark included if it was reached.
///
/// `image` holds features `[N, F]` or maps `[N, P, C]`. Only the decoder is asked: no rule of the language applies, and
/// nothing that was recognised.
///
/// # Errors
/// If the features do not fit the decoder or the settings make no sense.
pub fn search_ids(decoder: &Decoder, image: &Tensor, how: &Search) -> Result<Vec<Vec<usize>>> {
    let how = Search {
        n_best: 1,
        judge: false,
        ..*how
    };
    let best = |candidates: Vec<Sentence>| {
        let ordered = how.order(candidates, None);
        ordered.first().map_or(Vec::new(), |s| s.ids().collect())
    };
    let found = sentences(decoder, image, &how, &Rules::default())?;
    Ok(found.into_iter().map(best).collect())
}

/// Finds the sentences of each image that the final choice is made from, likeliest first.
pub(super) fn sentences(
    decoder: &Decoder,
    image: &Tensor,
    how: &Search,
    rules: &Rules,
) -> Result<Vec<Vec<Sentence>>> {
    how.check()?;
    let images = image.dims().first().copied().unwrap_or(0);
    if images == 0 {
        return Ok(Vec::new());
    }
    let groups = |row: usize| Groups::new(row, &Arc::new(rules.costs(row)), how);
    let mut all: Vec<Groups> = (0..images).map(groups).collect();
    // `state` has a row for each open sentence, image by image; at first one row for each image.
    let mut state = decoder.start(image)?;
    let mut last: Vec<usize> = vec![START as usize; images];
    for step in 0..=how.max_words {
        let (next, logits) = decoder.step(&state, &last)?;
        // The step after the last word can only end the sentence.
        let ends = step == how.max_words;
        let rows = how.likeliest(&logits, step == 0, ends, touched(&all, how))?;
        let step = Step {
            rows: &rows,
            attention: &attention(&next, how.attention)?,
            rules,
            ends,
        };
        threads::for_each_chunk(&mut all, 1, |_, some| {
            some.iter_mut().for_each(|groups| groups.extend(&step, how));
        });
        let mut kept = Vec::new();
        last.clear();
        for beam in all.iter_mut().flat_map(|groups| &mut groups.0) {
            kept.extend_from_slice(&beam.origins);
            beam.first = last.len();
            last.extend(beam.last_words());
        }
        if kept.is_empty() {
            break;
        }
        state = next.select(&kept)?;
    }
    Ok(all.into_iter().map(|groups| groups.best(how)).collect())
}

/// Returns the largest number of words that penalties touch after any open sentence.
fn touched(all: &[Groups], how: &Search) -> usize {
    let beams = all.iter().flat_map(|groups| &groups.0);
    beams
        .map(|beam: &Beam| beam.touched(how))
        .max()
        .unwrap_or(0)
}
