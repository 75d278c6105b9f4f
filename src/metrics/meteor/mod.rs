//! METEOR 1.5: the quality of the best alignment of a caption's words with a reference's.
//!
//! A caption and a reference are aligned word by word. Words match if they are equal, have the same stem, are synonyms,
//! or belong to phrases that paraphrase each other ([`mod@matches`]). Among all alignments without conflicts, [`align`]
//! searches for one that matches many words in few chunks. A chunk is a sequence of matches that are neighbours in both
//! sentences. A match of stage i has the weight w = 1, 0.6, 0.8, 0.6; function words ("the", "of") are weighted by 1 -
//! delta and other words by delta:
//!
//! ```text
//! P = weighted matches in the caption / weighted length of the caption       R = the same ratio of the reference
//! F = 1 / ((1 - alpha) / P + alpha / R)                                      alpha = 0.85, delta = 0.75
//! score = F * (1 - gamma * (chunks / matches)^beta)                          beta = 0.2, gamma = 0.6
//! ```
//!
//! If there are several references, the one with the best score counts. The score of a set is computed from the
//! [`Statistics`] summed over its captions; it is not the mean of their scores.
//!
//! This implementation follows the behaviour of the Java program (version 1.5, `-l en -norm`, as the COCO evaluation
//! calls it), down to the order in which its beam search breaks ties, because alignments and scores depend on that
//! order. The synonyms and paraphrases are METEOR's own files ([`Data`]), which are not part of this package. Without
//! them only the first two stages are used, and the score is called `meteor_stem`.
//!
//! Denkowski and Lavie, *Meteor universal: language specific translation evaluation for any target language*, WMT 2014.

pub mod align;
mod data;
mod lexicon;
pub mod matches;
mod normalize;
mod paraphrases;
mod synonyms;

use std::ops::AddAssign;

pub use data::Data;
use lexicon::Lexicon;

use super::Segment;
use crate::error::Result;

/// The number of stages: exact, stem, synonym, paraphrase.
pub const STAGES: usize = 4;

/// The weight of a match of each stage.
const WEIGHTS: [f64; STAGES] = [1.0, 0.6, 0.8, 0.6];
/// The weight of recall relative to precision.
const ALPHA: f64 = 0.85;
/// The exponent of the penalty for fragmentation.
const BETA: f64 = 0.2;
/// The largest penalty for fragmentation.
const GAMMA: f64 = 0.6;
/// The weight of content words; function words have 1 - delta.
const DELTA: f64 = 0.75;

/// The counts of one sentence, or of one side of many pairs of sentences.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Side {
    /// The number of words.
    pub words: f64,
    /// The number of function words among them.
    pub function_words: f64,
    /// The number of matched content words, by stage.
    pub content: [f64; STAGES],
    /// The number of matched function words, by stage.
    pub function: [f64; STAGES],
}

/// The counts from which the score of a caption, or of many, is computed.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Statistics {
    /// The counts of the caption.
    pub hypothesis: Side,
    /// The counts of the reference with the best score.
    pub reference: Side,
    /// The number of chunks.
    pub chunks: f64,
}

impl Side {
    fn matches(&self) -> f64 {
        self.content.iter().chain(&self.function).sum()
    }

    /// Computes precision or recall: matched weight divided by total weight; NaN without words.
    fn share(&self) -> f64 {
        let length =
            DELTA * (self.words - self.function_words) + (1.0 - DELTA) * self.function_words;
        let weigh = |counts: &[f64; STAGES]| -> f64 {
            counts.iter().zip(WEIGHTS).map(|(count, w)| count * w).sum()
        };
        (DELTA * weigh(&self.content) + (1.0 - DELTA) * weigh(&self.function)) / length
    }
}

impl Statistics {
    /// Computes the score, between 0 and 1; 0 if nothing matches.
    ///
    /// ```
    /// use glimpse::metrics::meteor::{Side, Statistics};
    ///
    /// // Two of three content words match exactly, apart from each other; both sentences have three words.
    /// let side = Side { words: 3.0, content: [2.0, 0.0, 0.0, 0.0], ..Side::default() };
    /// let statistics = Statistics { hypothesis: side, reference: side, chunks: 2.0 };
    /// assert!((statistics.score() - 2.0 / 3.0 * (1.0 - 0.6)).abs() < 1e-12);
    /// ```
    pub fn score(&self) -> f64 {
        let (precision, recall) = (self.hypothesis.share(), self.reference.share());
        let mean = 1.0 / ((1.0 - ALPHA) / precision + ALPHA / recall);
        let matches = (self.hypothesis.matches() + self.reference.matches()) / 2.0;
        let fragmentation = if self.is_whole() {
            0.0
        } else {
            self.chunks / matches
        };
        let score = mean * (1.0 - GAMMA * fragmentation.powf(BETA));
        // Without words or matches there is a division by zero above. (`max` also turns NaN into 0.)
        score.max(0.0)
    }

    /// Whether all words of both sentences match in one chunk.
    fn is_whole(&self) -> bool {
        self.hypothesis.matches() == self.hypothesis.words
            && self.reference.matches() == self.reference.words
            && self.chunks == 1.0
    }
}

impl AddAssign for Side {
    fn add_assign(&mut self, other: Side) {
        self.words += other.words;
        self.function_words += other.function_words;
        for stage in 0..STAGES {
            self.content[stage] += other.content[stage];
            self.function[stage] += other.function[stage];
        }
    }
}

impl AddAssign for Statistics {
    /// Adds another caption. A caption that equals its reference word by word adds no chunk, because it is not
    /// fragmented.
    fn add_assign(&mut self, other: Statistics) {
        self.hypothesis += other.hypothesis;
        self.reference += other.reference;
        if !other.is_whole() {
            self.chunks += other.chunks;
        }
    }
}

/// Computes the statistics of each segment's caption against its best reference.
///
/// With `data` all four stages are used, without it the first two.
///
/// # Errors
/// If a file of `data` cannot be read or has other contents than expected.
pub fn segments(segments: &[Segment], data: Option<&Data>) -> Result<Vec<Statistics>> {
    let mut lexicon = Lexicon::new(data);
    let sentences: Vec<(Vec<u32>, Vec<Vec<u32>>)> = segments
        .iter()
        .map(|segment| {
            let hypothesis = lexicon.sentence(&segment.hypothesis);
            let references = segment.references.iter().map(|r| lexicon.sentence(r));
            (hypothesis, references.collect())
        })
        .collect();
    if let Some(data) = data {
        lexicon.add_paraphrases(data)?;
    }
    Ok(sentences
        .iter()
        .map(|(hypothesis, references)| best(&lexicon, hypothesis, references))
        .collect())
}

/// Returns the statistics against the best reference; among equally good ones, the first.
fn best(lexicon: &Lexicon, hypothesis: &[u32], references: &[Vec<u32>]) -> Statistics {
    let mut best = (-1.0, Statistics::default());
    for reference in references {
        let statistics = align::align(lexicon, hypothesis, reference);
        let score = statistics.score();
        if score > best.0 {
            best = (score, statistics);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn statistics(hypothesis: &str, references: &[&str]) -> Statistics {
        let segment = Segment {
            hypothesis: words(hypothesis),
            references: references.iter().map(|r| words(r)).collect(),
        };
        segments(&[segment], None).unwrap()[0]
    }

    #[test]
    fn a_reference_word_by_word_scores_one() {
        assert_eq!(
            statistics("a dog runs", &["a cat", "a dog runs"]).score(),
            1.0
        );
        assert_eq!(statistics("dog", &["dog"]).score(), 1.0);
    }

    #[test]
    fn nothing_scores_zero() {
        for (hypothesis, references) in [
            ("", &["a dog"][..]),
            ("a dog", &[""]),
            ("", &[""]),
            ("zebra", &["a dog"]),
            ("a dog", &[]),
        ] {
            assert_eq!(statistics(hypothesis, references).score(), 0.0);
        }
    }

    #[test]
    fn a_worked_example() {
        // "dog" matches exactly, "running" by its stem; "the" is a function word of both, "a" has no match.
        let found = statistics("the dog running", &["the dogs run"]);
        assert_eq!(found.hypothesis.words, 3.0);
        assert_eq!(found.hypothesis.function_words, 1.0);
        assert_eq!(found.hypothesis.function, [1.0, 0.0, 0.0, 0.0]);
        assert_eq!(found.hypothesis.content, [0.0, 2.0, 0.0, 0.0]);
        assert_eq!(found.chunks, 1.0);
        let share = (0.25 + 2.0 * 0.6 * 0.75) / (0.25 + 2.0 * 0.75);
        assert!((found.score() - share).abs() < 1e-12);
    }

    #[test]
    fn sums_are_no_means() {
        let whole = statistics("a dog runs", &["a dog runs"]);
        let part = statistics("a dog sleeps", &["a dog runs"]);
        let mut sum = Statistics::default();
        sum += whole;
        sum += part;
        assert_eq!(sum.hypothesis.words, 6.0);
        assert_eq!(sum.chunks, 1.0, "a whole caption adds no chunk");
        assert!(sum.score() < 1.0 && sum.score() > part.score());
    }
}
