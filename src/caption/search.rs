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

use super::{Caption, Sentence, log_softmax};
use crate::data::vocabulary::{END, PAD, START, UNKNOWN};
use crate::error::{Error, Result};
use crate::model::Captioner;
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

    fn score(&self, sentence: &Sentence) -> f64 {
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
    let mut beams: Vec<Beam> = (0..images).map(|_| Beam::default()).collect();
    // A row of `state` for each open sentence, image by image.
    let mut state = decoder.start(features)?;
    let mut last: Vec<usize> = vec![START as usize; images];
    for step in 0..=how.max_words {
        let (next, logits) = decoder.step(&state, &last)?;
        let words = logits.dims()[1];
        let mut kept = Vec::new();
        last.clear();
        let mut first = 0;
        for beam in &mut beams {
            let open = beam.open.len();
            let rows = &logits.data()[first * words..(first + open) * words];
            // The step after the last word may only end the sentence.
            for origin in beam.extend(rows, how, step == how.max_words) {
                kept.push(first + origin);
            }
            last.extend(
                beam.open
                    .iter()
                    .map(|s| s.words.last().map_or(START as usize, |w| w.0)),
            );
            first += open;
        }
        if kept.is_empty() {
            break;
        }
        state = next.select(&kept)?;
    }
    beams.iter_mut().map(|b| b.best(how, captioner)).collect()
}

/// The sentences of one image.
struct Beam {
    open: Vec<Sentence>,
    finished: Vec<Sentence>,
    // Those that ran out of words.
    cut: Vec<Sentence>,
}

impl Default for Beam {
    fn default() -> Self {
        let empty = Sentence {
            words: Vec::new(),
            finished: false,
        };
        Beam {
            open: vec![empty],
            finished: Vec::new(),
            cut: Vec::new(),
        }
    }
}

/// A sentence one word longer: which one, by which word.
struct Candidate {
    origin: usize,
    word: usize,
    log_prob: f64,
    total: f64,
}

impl Beam {
    /// Extends every open sentence by one word, given the logits after each, and returns which of them the new
    /// ones come from.
    fn extend(&mut self, logits: &[f32], how: &Search, only_end: bool) -> Vec<usize> {
        if self.open.is_empty() {
            return Vec::new();
        }
        let words = logits.len() / self.open.len();
        let mut candidates = Vec::new();
        for (origin, (sentence, row)) in
            self.open.iter().zip(logits.chunks_exact(words)).enumerate()
        {
            let before = sentence.log_prob();
            let probs = log_softmax(row);
            let allowed = |w: usize| {
                let special = [PAD, START, UNKNOWN].iter().any(|&s| s as usize == w);
                // An image deserves at least one word.
                let empty = w == END as usize && sentence.words.is_empty();
                !special && !empty && (!only_end || w == END as usize)
            };
            let mut best: Vec<usize> = (0..words).filter(|&w| allowed(w)).collect();
            let order = |a: &usize, b: &usize| probs[*b].total_cmp(&probs[*a]).then(a.cmp(b));
            // At most one of the first `beam + 1` is the end.
            let enough = how.beam + 1;
            if best.len() > enough {
                best.select_nth_unstable_by(enough - 1, order);
                best.truncate(enough);
            }
            candidates.extend(best.into_iter().map(|word| Candidate {
                origin,
                word,
                log_prob: probs[word],
                total: before + probs[word],
            }));
        }
        candidates.sort_by(|a, b| {
            b.total
                .total_cmp(&a.total)
                .then(a.origin.cmp(&b.origin))
                .then(a.word.cmp(&b.word))
        });
        let (mut open, mut origins) = (Vec::new(), Vec::new());
        for c in candidates {
            let mut words = self.open[c.origin].words.clone();
            words.push((c.word, c.log_prob));
            if c.word == END as usize {
                self.finished.push(Sentence {
                    words,
                    finished: true,
                });
            } else {
                open.push(Sentence {
                    words,
                    finished: false,
                });
                origins.push(c.origin);
            }
            if open.len() == how.beam {
                break;
            }
        }
        if only_end {
            self.cut = std::mem::take(&mut self.open);
        }
        self.open = open;
        if self.is_settled(how) {
            self.open.clear();
            origins.clear();
        }
        origins
    }

    /// Whether no open sentence can still become one of the best: log-probabilities only fall, so a sentence's
    /// score is at best what it would be if all words up to the limit were certain.
    fn is_settled(&self, how: &Search) -> bool {
        if self.finished.len() < how.n_best {
            return false;
        }
        let mut scores: Vec<f64> = self.finished.iter().map(|s| how.score(s)).collect();
        scores.sort_by(|a, b| b.total_cmp(a));
        let worst = scores[how.n_best - 1];
        let longest = (how.max_words as f64 + 1.0).powf(how.length_penalty.max(0.0));
        self.open.iter().all(|s| s.log_prob() / longest <= worst)
    }

    fn best(&mut self, how: &Search, captioner: &Captioner) -> Result<Vec<Caption>> {
        let mut all = std::mem::take(&mut self.finished);
        all.sort_by(|a, b| how.score(b).total_cmp(&how.score(a)));
        self.cut
            .sort_by(|a, b| how.score(b).total_cmp(&how.score(a)));
        all.append(&mut self.cut);
        all.iter()
            .take(how.n_best)
            .map(|s| s.caption(captioner))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: usize = 6;

    /// Logits that are log-probabilities of the words 4 and 5 and the end.
    fn row(end: f64, a: f64, b: f64) -> Vec<f32> {
        let mut row = vec![-1e30f32; WORDS];
        row[END as usize] = end.ln() as f32;
        row[4] = a.ln() as f32;
        row[5] = b.ln() as f32;
        row
    }

    fn how(beam: usize, length_penalty: f64) -> Search {
        Search {
            beam,
            n_best: 1,
            length_penalty,
            max_words: 3,
        }
    }

    #[test]
    fn a_wider_beam_finds_what_greed_misses() {
        // Word 4 is likelier at first, but 5 is followed by a certain end.
        let run = |beam: usize| {
            let how = how(beam, 0.0);
            let mut b = Beam::default();
            b.extend(&row(0.0, 0.6, 0.4), &how, false);
            let rows: Vec<f32> = b
                .open
                .iter()
                .flat_map(|s| {
                    if s.words[0].0 == 4 {
                        row(0.4, 0.3, 0.3)
                    } else {
                        row(1.0, 0.0, 0.0)
                    }
                })
                .collect();
            b.extend(&rows, &how, false);
            let best = b
                .finished
                .iter()
                .max_by(|x, y| how.score(x).total_cmp(&how.score(y)))
                .unwrap();
            (best.words[0].0, best.log_prob())
        };
        let (word, log_prob) = run(1);
        assert_eq!(word, 4);
        assert!((log_prob - 0.24f64.ln()).abs() < 1e-6);
        let (word, log_prob) = run(2);
        assert_eq!(word, 5);
        assert!((log_prob - 0.4f64.ln()).abs() < 1e-6);
    }

    #[test]
    fn a_sentence_never_begins_with_its_end_and_never_holds_specials() {
        let how = how(2, 0.7);
        let mut b = Beam::default();
        let mut logits = row(0.98, 0.01, 0.01);
        logits[UNKNOWN as usize] = 50.0;
        logits[PAD as usize] = 50.0;
        b.extend(&logits, &how, false);
        assert!(b.finished.is_empty());
        assert_eq!(
            b.open.iter().map(|s| s.words[0].0).collect::<Vec<_>>(),
            [4, 5]
        );
    }

    #[test]
    fn a_beam_that_never_ends_is_cut() {
        let how = how(2, 0.7);
        let mut b = Beam::default();
        for step in 0..=3 {
            let rows: Vec<f32> = b.open.iter().flat_map(|_| row(0.0, 0.5, 0.5)).collect();
            let rows: Vec<f32> = rows
                .iter()
                .map(|x| if x.is_finite() { *x } else { -1e30 })
                .collect();
            b.extend(&rows, &how, step == 3);
        }
        assert!(b.open.is_empty());
        assert!(b.cut.iter().all(|s| s.words.len() == 3 && !s.finished));
        assert_eq!(b.cut.len(), 2);
    }

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        for how in [
            how(0, 1.0),
            Search {
                n_best: 3,
                ..how(2, 1.0)
            },
            how(1, f64::NAN),
        ] {
            assert!(how.check().is_err());
        }
    }
}
