//! The beam of one image: the sentences that the search extends at each step.

use std::sync::Arc;

use super::chosen::Chosen;
use super::penalties::Penalties;
use super::rules::{Costs, Rules};
use super::sentence::{Sentence, Weights, Word};
use super::settings::Search;
use crate::data::vocabulary::{END, START};
use crate::ops::Likeliest;

/// The decoder's prediction of the next word, for each row of its state.
pub(super) struct Step<'a> {
    /// The likeliest words after each row's sentence.
    pub(super) rows: &'a [Likeliest],
    /// The attention weights of this step; empty if they were not asked for.
    pub(super) attention: &'a [Weights],
    /// The rules of the language and of the picture that words are subject to.
    pub(super) rules: &'a Rules,
    /// Whether only the end mark may follow; sentences that do not end at this step are cut.
    pub(super) ends: bool,
}

/// The beam of one image, or one of the groups that it is cut into.
pub(super) struct Beam {
    /// The costs of words in this image.
    costs: Arc<Costs>,
    /// The number of sentences that are extended at a time.
    width: usize,
    /// The sentences that have not ended, best first.
    open: Vec<Sentence>,
    /// The row of the decoder's state that belongs to the first open sentence; the rows of the others follow.
    pub(super) first: usize,
    /// For each open sentence, the row of the sentence that it extends.
    pub(super) origins: Vec<usize>,
    finished: Vec<Sentence>,
    // Sentences that reached the limit of words.
    cut: Vec<Sentence>,
}

/// An open sentence extended by one word.
struct Candidate {
    origin: usize,
    word: usize,
    log_prob: f64,
    /// `log_prob` after penalties.
    penalised: f64,
    /// The total of the extended sentence, minus the cost of the word if earlier groups have chosen it.
    merit: f64,
}

impl Beam {
    /// Creates a beam with one open sentence, without words, whose state is in the row `first`.
    pub(super) fn new(first: usize, width: usize, costs: Arc<Costs>) -> Self {
        Beam {
            costs,
            width,
            open: vec![Sentence::default()],
            first,
            origins: Vec::new(),
            finished: Vec::new(),
            cut: Vec::new(),
        }
    }

    /// Extends every open sentence by one word. `chosen` holds the words that earlier groups have chosen at this step.
    pub(super) fn extend(&mut self, step: &Step, how: &Search, chosen: &Chosen) {
        let candidates = self.candidates(step, how, chosen);
        self.origins.clear();
        let mut open = Vec::new();
        for c in candidates {
            let row = self.first + c.origin;
            let mut sentence = self.open[c.origin].clone();
            let word = Word {
                id: c.word,
                log_prob: c.log_prob,
                attention: step.attention.get(row).cloned(),
            };
            sentence.push(word, c.penalised);
            if sentence.finished {
                self.finished.push(sentence);
            } else {
                open.push(sentence);
                self.origins.push(row);
            }
            if open.len() == self.width {
                break;
            }
        }
        if step.ends {
            self.cut = std::mem::take(&mut self.open);
            for sentence in &mut self.cut {
                sentence.drop_last_while(|word| !step.rules.may_end_with(word));
            }
            // Sentences may have become equal when they lost their last words; the best of them stays.
            how.rank(&mut self.cut);
            for sentence in std::mem::take(&mut self.cut) {
                if is_new(&sentence, &self.cut) {
                    self.cut.push(sentence);
                }
            }
        }
        self.open = open;
    }

    /// Returns every open sentence extended by every word that may follow it, best first.
    fn candidates(&self, step: &Step, how: &Search, chosen: &Chosen) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        let rows = step.rows.iter().skip(self.first);
        for (origin, (sentence, row)) in self.open.iter().zip(rows).enumerate() {
            let penalties = Penalties::of(sentence, how);
            let may_end = sentence
                .words
                .last()
                .is_none_or(|last| step.rules.may_end_with(last.id));
            for &(word, logit) in &row.words {
                if word == END as usize && !may_end {
                    continue;
                }
                let log_prob = f64::from(logit) - row.log_sum;
                let Some(penalised) = penalties.apply(word, log_prob) else {
                    continue;
                };
                let penalised = penalised - self.costs.of(word);
                candidates.push(Candidate {
                    origin,
                    word,
                    log_prob,
                    penalised,
                    merit: sentence.total + penalised - chosen.cost(word),
                });
            }
        }
        candidates.sort_by(|a, b| {
            b.merit
                .total_cmp(&a.merit)
                .then(a.origin.cmp(&b.origin))
                .then(a.word.cmp(&b.word))
        });
        candidates
    }

    /// Drops the open sentences that can no longer become one of the best. The candidates that they kept out of the
    /// beam were less likely still, so the search finds exactly the same result without them. That holds where
    /// sentences are chosen by their totals alone, as in a single group.
    pub(super) fn give_up(&mut self, how: &Search) {
        let Some(worst) = self.worst(how) else {
            return;
        };
        let hopeful = self
            .open
            .partition_point(|s| s.total / longest(how) > worst);
        self.open.truncate(hopeful);
        self.origins.truncate(hopeful);
    }

    /// Whether no open sentence can become one of the best any more.
    pub(super) fn is_settled(&self, how: &Search) -> bool {
        let hopeless = |worst: f64| self.open.iter().all(|s| s.total / longest(how) <= worst);
        self.open.is_empty() || self.worst(how).is_some_and(hopeless)
    }

    /// Drops all open sentences.
    pub(super) fn stop(&mut self) {
        self.open.clear();
        self.origins.clear();
    }

    /// Returns the score that a sentence has to exceed to be one of the best; `None` while fewer sentences have ended
    /// than are wanted.
    fn worst(&self, how: &Search) -> Option<f64> {
        let wanted = how.candidates();
        if self.finished.len() < wanted {
            return None;
        }
        let mut scores: Vec<f64> = self.finished.iter().map(|s| how.score(s)).collect();
        scores.sort_by(|a, b| b.total_cmp(a));
        Some(scores[wanted - 1])
    }

    /// The last word of each open sentence.
    pub(super) fn last_words(&self) -> impl Iterator<Item = usize> {
        self.open
            .iter()
            .map(|s| s.words.last().map_or(START as usize, |word| word.id))
    }

    /// Returns the largest number of words that penalties and costs touch after one open sentence.
    pub(super) fn touched(&self, how: &Search) -> usize {
        let touched = self.open.iter().map(|s| Penalties::of(s, how).touched());
        touched.max().unwrap_or(0) + self.costs.len()
    }

    /// Returns all sentences, best first; finished ones come before those that were cut.
    pub(super) fn into_sentences(self, how: &Search) -> Vec<Sentence> {
        let mut all = self.finished;
        all.extend(self.cut);
        how.rank(&mut all);
        all
    }
}

/// Whether no sentence in `among` has the same words.
pub(super) fn is_new(sentence: &Sentence, among: &[Sentence]) -> bool {
    among.iter().all(|other| !other.ids().eq(sentence.ids()))
}

/// Returns the divisor that turns an open sentence's total into an upper bound of its score. Totals only fall, because
/// log-probabilities are at most 0 and penalties lower them. So the best possible score is the one that results if all
/// further words, up to the limit, are certain.
fn longest(how: &Search) -> f64 {
    (how.max_words as f64 + 1.0).powf(how.length_penalty.max(0.0))
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
            length_penalty,
            max_words: 3,
            judge: false,
            ..Search::default()
        }
    }

    fn ids(sentences: &[Sentence]) -> Vec<Vec<usize>> {
        sentences.iter().map(|s| s.ids().collect()).collect()
    }

    fn extend(beam: &mut Beam, logits: &[f32], how: &Search, ends: bool) {
        let shape = [logits.len() / WORDS, WORDS];
        let logits = Tensor::from_vec(logits.to_vec(), &shape).unwrap();
        let is_first = beam.open.iter().any(|s| s.words.is_empty());
        let rows = how
            .likeliest(&logits, is_first, ends, beam.touched(how))
            .unwrap();
        let step = Step {
            rows: &rows,
            attention: &[],
            rules: &Rules::default(),
            ends,
        };
        beam.extend(&step, how, &Chosen::none(how));
        beam.give_up(how);
    }

    #[test]
    fn a_wider_beam_finds_what_greed_misses() {
        // Word 4 is likelier at first, but word 5 is followed by a certain end.
        let run = |beam: usize| {
            let how = how(beam, 0.0);
            let mut b = Beam::new(0, beam, Arc::default());
            extend(&mut b, &row(0.0, 0.6, 0.4), &how, false);
            let rows: Vec<f32> = b
                .open
                .iter()
                .flat_map(|s| {
                    if s.words[0].id == 4 {
                        row(0.4, 0.3, 0.3)
                    } else {
                        row(1.0, 0.0, 0.0)
                    }
                })
                .collect();
            extend(&mut b, &rows, &how, false);
            let best = b.into_sentences(&how).remove(0);
            (best.words[0].id, best.log_prob())
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
        let mut b = Beam::new(0, 2, Arc::default());
        let mut logits = row(0.98, 0.01, 0.01);
        logits[UNKNOWN as usize] = 50.0;
        logits[PAD as usize] = 50.0;
        extend(&mut b, &logits, &how, false);
        assert!(b.finished.is_empty());
        assert_eq!(ids(&b.open), [[4], [5]]);
    }

    #[test]
    fn a_beam_that_never_ends_is_cut() {
        let how = how(2, 0.7);
        let mut b = Beam::new(0, 2, Arc::default());
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
        let mut b = Beam::new(7, 2, Arc::default());
        let mut logits = vec![0.0; 7 * WORDS];
        logits.extend(row(0.0, 0.7, 0.3));
        extend(&mut b, &logits, &how, false);
        assert_eq!(b.origins, [7, 7]);
        assert!(!b.is_settled(&how));
        // The first ends with 0.42 and can go on with 0.28 at most; the second with 0.3.
        b.first = 0;
        let both = [row(0.6, 0.4, 0.0), row(0.0, 0.5, 0.5)].concat();
        extend(&mut b, &both, &how, false);
        assert_eq!(b.finished.len(), 1);
        assert!(b.open.is_empty() && b.origins.is_empty());
        assert!(b.is_settled(&how));
    }

    #[test]
    fn a_repeated_word_makes_way_for_one_that_is_nearly_as_likely() {
        let second = |repetition_penalty: f64| {
            let how = Search {
                repetition_penalty,
                ..how(1, 0.0)
            };
            let mut b = Beam::new(0, 1, Arc::default());
            extend(&mut b, &row(0.0, 0.9, 0.1), &how, false);
            extend(&mut b, &row(0.2, 0.45, 0.35), &how, false);
            assert!(b.open.len() == 1 && b.finished.is_empty());
            b.open.remove(0)
        };
        assert_eq!(second(1.0).words[1].id, 4);
        let turned = second(1.5);
        assert_eq!(turned.words[1].id, 5);
        // The first occurrence of a word costs nothing.
        assert_eq!(turned.total, turned.log_prob());
        // 0.45^1.2 = 0.384 is still more than 0.35. The model's log-probability stays; the total has the penalty.
        let kept = second(1.2);
        assert_eq!(kept.words[1].id, 4);
        let more = 0.2 * 0.45f64.ln();
        assert!((kept.total - kept.log_prob() - more).abs() < 1e-6);
    }

    #[test]
    fn a_blocked_word_takes_no_place_in_the_beam() {
        // A beam of one asks for two words of a row, and the two likeliest are blocked or the end.
        let how = Search {
            no_repeat_ngram: 1,
            ..how(1, 0.0)
        };
        let mut b = Beam::new(0, 1, Arc::default());
        extend(&mut b, &row(0.0, 0.9, 0.1), &how, false);
        extend(&mut b, &row(0.3, 0.6, 0.1), &how, false);
        assert_eq!(ids(&b.finished), [[4, 2]]);
        // Its total is below that of the finished sentence, so it is dropped; where 2 sentences are wanted it is
        // extended.
        assert!(b.open.is_empty());
        let how = Search {
            no_repeat_ngram: 1,
            ..self::how(2, 0.0)
        };
        let mut b = Beam::new(0, 1, Arc::default());
        extend(&mut b, &row(0.0, 0.9, 0.1), &how, false);
        let two = Search { n_best: 2, ..how };
        extend(&mut b, &row(0.3, 0.6, 0.1), &two, false);
        assert_eq!(ids(&b.open), [[4, 5]]);
    }
}
