//! The sentences of one image during a search.

use super::search::Search;
use super::{Caption, Sentence};
use crate::data::vocabulary::{END, START};
use crate::error::Result;
use crate::model::Captioner;
use crate::ops::Likeliest;

/// The sentences of one image.
pub(super) struct Beam {
    /// Those that go on, the likeliest first.
    open: Vec<Sentence>,
    /// The row of the decoder's state that belongs to the first open one; the others' follow.
    pub(super) first: usize,
    /// For each open one, the row of the one that it was before its last word.
    pub(super) origins: Vec<usize>,
    finished: Vec<Sentence>,
    // Those that ran out of words.
    cut: Vec<Sentence>,
}

/// A sentence one word longer: which one, by which word.
struct Candidate {
    origin: usize,
    word: usize,
    log_prob: f64,
    total: f64,
}

impl Beam {
    /// One open sentence without words, whose state is in the row `first`.
    pub(super) fn new(first: usize) -> Self {
        let empty = Sentence {
            words: Vec::new(),
            finished: false,
        };
        Beam {
            open: vec![empty],
            first,
            origins: Vec::new(),
            finished: Vec::new(),
            cut: Vec::new(),
        }
    }

    /// Extends every open sentence by one word, given what is likeliest after each sentence of all images. Where
    /// `ends`, the word is the end, and what has not ended is cut.
    pub(super) fn extend(&mut self, rows: &[Likeliest], how: &Search, ends: bool) {
        let mut candidates = Vec::new();
        let rows = rows.iter().skip(self.first);
        for (origin, (sentence, row)) in self.open.iter().zip(rows).enumerate() {
            let before = sentence.log_prob();
            for &(word, logit) in &row.words {
                let log_prob = f64::from(logit) - row.log_sum;
                candidates.push(Candidate {
                    origin,
                    word,
                    log_prob,
                    total: before + log_prob,
                });
            }
        }
        candidates.sort_by(|a, b| {
            b.total
                .total_cmp(&a.total)
                .then(a.origin.cmp(&b.origin))
                .then(a.word.cmp(&b.word))
        });
        self.origins.clear();
        let mut open = Vec::new();
        for c in candidates {
            let mut words = self.open[c.origin].words.clone();
            words.push((c.word, c.log_prob));
            let finished = c.word == END as usize;
            let sentence = Sentence { words, finished };
            if finished {
                self.finished.push(sentence);
            } else {
                open.push(sentence);
                self.origins.push(self.first + c.origin);
            }
            if open.len() == how.beam {
                break;
            }
        }
        if ends {
            self.cut = std::mem::take(&mut self.open);
        }
        self.open = open;
        self.give_up(how);
    }

    /// Drops the open sentences that can no longer become one of the best: log-probabilities only fall, so a
    /// sentence's score is at best what it would be if all words up to the limit were certain. Nothing that they
    /// kept out of the beam was likelier, so the search finds the very same without them.
    fn give_up(&mut self, how: &Search) {
        if self.finished.len() < how.n_best {
            return;
        }
        let mut scores: Vec<f64> = self.finished.iter().map(|s| how.score(s)).collect();
        scores.sort_by(|a, b| b.total_cmp(a));
        let worst = scores[how.n_best - 1];
        let longest = (how.max_words as f64 + 1.0).powf(how.length_penalty.max(0.0));
        let hopeful = self
            .open
            .partition_point(|s| s.log_prob() / longest > worst);
        self.open.truncate(hopeful);
        self.origins.truncate(hopeful);
    }

    /// The last word of each open sentence.
    pub(super) fn last_words(&self) -> impl Iterator<Item = usize> {
        self.open
            .iter()
            .map(|s| s.words.last().map_or(START as usize, |w| w.0))
    }

    /// The best sentences, those that ended before those that were cut.
    pub(super) fn best(&mut self, how: &Search, captioner: &Captioner) -> Result<Vec<Caption>> {
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
    use crate::data::vocabulary::{PAD, UNKNOWN};
    use crate::tensor::Tensor;

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

    fn extend(beam: &mut Beam, logits: &[f32], how: &Search, ends: bool) {
        let shape = [logits.len() / WORDS, WORDS];
        let logits = Tensor::from_vec(logits.to_vec(), &shape).unwrap();
        let is_first = beam.open.iter().any(|s| s.words.is_empty());
        beam.extend(&how.likeliest(&logits, is_first, ends).unwrap(), how, ends);
    }

    #[test]
    fn a_wider_beam_finds_what_greed_misses() {
        // Word 4 is likelier at first, but 5 is followed by a certain end.
        let run = |beam: usize| {
            let how = how(beam, 0.0);
            let mut b = Beam::new(0);
            extend(&mut b, &row(0.0, 0.6, 0.4), &how, false);
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
            extend(&mut b, &rows, &how, false);
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
        let mut b = Beam::new(0);
        let mut logits = row(0.98, 0.01, 0.01);
        logits[UNKNOWN as usize] = 50.0;
        logits[PAD as usize] = 50.0;
        extend(&mut b, &logits, &how, false);
        assert!(b.finished.is_empty());
        assert_eq!(
            b.open.iter().map(|s| s.words[0].0).collect::<Vec<_>>(),
            [4, 5]
        );
    }

    #[test]
    fn a_beam_that_never_ends_is_cut() {
        let how = how(2, 0.7);
        let mut b = Beam::new(0);
        for step in 0..=3 {
            let rows: Vec<f32> = b.open.iter().flat_map(|_| row(0.0, 0.5, 0.5)).collect();
            let rows: Vec<f32> = rows
                .iter()
                .map(|x| if x.is_finite() { *x } else { -1e30 })
                .collect();
            extend(&mut b, &rows, &how, step == 3);
        }
        assert!(b.open.is_empty());
        assert!(b.cut.iter().all(|s| s.words.len() == 3 && !s.finished));
        assert_eq!(b.cut.len(), 2);
    }

    #[test]
    fn sentences_without_hope_are_dropped() {
        let how = how(2, 0.0);
        let mut b = Beam::new(7);
        let mut logits = vec![0.0; 7 * WORDS];
        logits.extend(row(0.0, 0.7, 0.3));
        extend(&mut b, &logits, &how, false);
        assert_eq!(b.origins, [7, 7]);
        // The first ends with 0.42 and can go on with 0.28 at most; the second with 0.3.
        b.first = 0;
        let both = [row(0.6, 0.4, 0.0), row(0.0, 0.5, 0.5)].concat();
        extend(&mut b, &both, &how, false);
        assert_eq!(b.finished.len(), 1);
        assert!(b.open.is_empty() && b.origins.is_empty());
    }
}
