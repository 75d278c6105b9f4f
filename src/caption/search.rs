//! Greedy and beam search.
//!
//! A beam of `B` keeps the `B` likeliest beginnings of a sentence. Each step extends every one of them by every
//! word and keeps the best `B` of the results; those that end are set aside. Sentences of different lengths
//! cannot be compared by their probability, of which every further word takes some away, so the final order is by
//!
//! ```text
//! score = log p(sentence) / length^a
//! ```
//!
//! with `a` the length penalty: 0 favours short sentences, 1 is the mean over words. A beam of one is greedy
//! search.

use super::beam::Beam;
use super::{Caption, Sentence};
use crate::cpu::threads;
use crate::data::vocabulary::{END, PAD, START, UNKNOWN};
use crate::error::{Error, Result};
use crate::model::Captioner;
use crate::ops::{Allowed, Likeliest, top_k};
use crate::tensor::Tensor;

/// How to search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Search {
    /// Sentences that are followed at a time; 1 is greedy.
    pub beam: usize,
    /// Sentences that are returned, at most; not more than `beam`.
    pub n_best: usize,
    /// The exponent `a` of the length.
    pub length_penalty: f64,
    /// Words of a sentence, at most.
    pub max_words: usize,
}

impl Default for Search {
    fn default() -> Self {
        Search {
            beam: 5,
            n_best: 1,
            length_penalty: 0.7,
            max_words: 20,
        }
    }
}

impl Search {
    fn check(&self) -> Result<()> {
        if self.beam == 0 || self.beam > 1000 {
            return Err(Error::usage(format!(
                "a beam of {}: take 1 to 1000",
                self.beam
            )));
        }
        if self.n_best == 0 || self.n_best > self.beam {
            return Err(Error::usage(format!(
                "the best {} of a beam of {}: take 1 to {0}, or a wider beam",
                self.n_best, self.beam
            )));
        }
        if self.max_words == 0 || !self.length_penalty.is_finite() {
            return Err(Error::usage(
                "a caption needs at least one word and a finite length penalty",
            ));
        }
        Ok(())
    }

    /// The words that a beam may go on with after each row of `logits`; none that is no word, nor, as the `first`, the
    /// end, for an image deserves at least one word.
    pub(super) fn likeliest(
        &self,
        logits: &Tensor,
        first: bool,
        ends: bool,
    ) -> Result<Vec<Likeliest>> {
        let [pad, start, unknown, end] = [PAD, START, UNKNOWN, END].map(|word| word as usize);
        // At most one of the first `beam + 1` is the end.
        match (ends, first) {
            (true, _) => top_k(logits, 1, Allowed::Only(end)),
            (false, true) => top_k(
                logits,
                self.beam,
                Allowed::Except(&[pad, start, unknown, end]),
            ),
            (false, false) => top_k(
                logits,
                self.beam + 1,
                Allowed::Except(&[pad, start, unknown]),
            ),
        }
    }

    /// What a sentence is ranked by.
    pub(super) fn score(&self, sentence: &Sentence) -> f64 {
        sentence.log_prob() / (sentence.words.len().max(1) as f64).powf(self.length_penalty)
    }
}

/// The likeliest captions of images with these `features` `[N, F]`: for each image at most `n_best`, the best
/// first.
///
/// A sentence that has not ended after `max_words` words is taken as it is; a finished one is preferred.
///
/// # Errors
/// Where the features do not fit the model or the settings make no sense.
pub fn search(captioner: &Captioner, features: &Tensor, how: &Search) -> Result<Vec<Vec<Caption>>> {
    how.check()?;
    let images = features.dims().first().copied().unwrap_or(0);
    if images == 0 {
        return Ok(Vec::new());
    }
    let decoder = &captioner.decoder;
    let mut beams: Vec<Beam> = (0..images).map(Beam::new).collect();
    // A row of `state` for each open sentence, image by image.
    let mut state = decoder.start(features)?;
    let mut last: Vec<usize> = vec![START as usize; images];
    for step in 0..=how.max_words {
        let (next, logits) = decoder.step(&state, &last)?;
        // The step after the last word may only end the sentence.
        let ends = step == how.max_words;
        let likeliest = how.likeliest(&logits, step == 0, ends)?;
        threads::for_each_chunk(&mut beams, 1, |_, beams| {
            for beam in beams {
                beam.extend(&likeliest, how, ends);
            }
        });
        let mut kept = Vec::new();
        last.clear();
        for beam in &mut beams {
            kept.extend_from_slice(&beam.origins);
            beam.first = last.len();
            last.extend(beam.last_words());
        }
        if kept.is_empty() {
            break;
        }
        state = next.select(&kept)?;
    }
    beams.iter_mut().map(|b| b.best(how, captioner)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        for how in [
            Search {
                beam: 0,
                ..Search::default()
            },
            Search {
                n_best: 6,
                ..Search::default()
            },
            Search {
                length_penalty: f64::NAN,
                ..Search::default()
            },
        ] {
            assert!(how.check().is_err());
        }
    }
}
