//! Penalties of a search for words that a sentence contains already.
//!
//! **Repetition penalty** (after Keskar et al., 2019, "CTRL", arXiv 1909.05858). CTRL divides the logits of words that
//! have occurred by a factor. Logits are determined only up to a constant, and the effect of a division depends on that
//! constant. Here the log-probability is multiplied instead, as beam searches of other programs do too:
//!
//! ```text
//! penalised log p(w) = penalty x log p(w)   for a word w that the sentence has,   log p(w)   for others and the end
//! ```
//!
//! With a penalty above 1, a repeated word that the model is sure of (the `a` after `in`) costs little, and a repeated
//! word that has good alternatives costs much. A penalty of 1 changes nothing.
//!
//! **No repeated n-gram** (Paulus et al., 2017, arXiv 1705.04304). A word is blocked if it would complete an n-gram
//! that the sentence contains already. With an `n` of 3, no three words follow each other twice.
//!
//! # Why the `k` likeliest words are enough
//!
//! A search asks for the `k` likeliest words of a row of logits. Without penalties, `beam + 1` are enough: at most one
//! of them is the end mark, and at most `beam` of the others can be kept. Penalties only lower words, and keep the
//! order of the words that they do not touch. Suppose that `p` words of a row are lowered or blocked. A word that is
//! not among the `beam + 1 + p` likeliest then has at least `beam` words before it that are neither the end mark nor
//! lowered. It cannot be kept, whether it is lowered or not. [`Penalties::touched`] is that `p`.

use super::sentence::Sentence;
use super::settings::Search;

/// The penalties and blocked words that follow from one sentence.
pub(super) struct Penalties<'a> {
    sentence: &'a Sentence,
    factor: f64,
    blocked: Vec<usize>,
}

impl<'a> Penalties<'a> {
    pub(super) fn of(sentence: &'a Sentence, how: &Search) -> Self {
        Penalties {
            sentence,
            factor: how.repetition_penalty,
            blocked: blocked(sentence, how.no_repeat_ngram),
        }
    }

    /// Returns the largest number of words that may be lowered or blocked. Blocked words are words of the sentence.
    pub(super) fn touched(&self) -> usize {
        if self.factor > 1.0 {
            self.sentence.words.len()
        } else {
            self.blocked.len()
        }
    }

    /// Returns the log-probability of `word` after penalties; `None` if the word is blocked.
    pub(super) fn apply(&self, word: usize, log_prob: f64) -> Option<f64> {
        if self.blocked.contains(&word) {
            return None;
        }
        if self.factor > 1.0 && self.sentence.ids().any(|id| id == word) {
            return Some(self.factor * log_prob);
        }
        Some(log_prob)
    }
}

/// Returns the words that would complete an `n`-gram that `sentence` contains already; none for an `n` of 0.
fn blocked(sentence: &Sentence, n: usize) -> Vec<usize> {
    let words = &sentence.words;
    if n == 0 || words.len() < n {
        return Vec::new();
    }
    let same = |a: usize, b: usize| words[a].id == words[b].id;
    let tail = words.len() - (n - 1);
    let mut blocked: Vec<usize> = (0..=words.len() - n)
        .filter(|&start| (0..n - 1).all(|i| same(start + i, tail + i)))
        .map(|start| words[start + n - 1].id)
        .collect();
    blocked.sort_unstable();
    blocked.dedup();
    blocked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caption::sentence::Word;
    use proptest::prelude::*;

    fn sentence(ids: &[usize]) -> Sentence {
        let mut sentence = Sentence::default();
        for &id in ids {
            let word = Word {
                id,
                log_prob: -1.0,
                attention: None,
            };
            sentence.push(word, -1.0);
        }
        sentence
    }

    #[test]
    fn words_that_would_repeat_a_run_are_blocked() {
        // "4 5 6 4 5": 6 would repeat 4 5 6.
        let s = sentence(&[4, 5, 6, 4, 5]);
        assert_eq!(blocked(&s, 3), [6]);
        // As bigrams: 5 was followed by 6 only.
        assert_eq!(blocked(&s, 2), [6]);
        assert!(blocked(&s, 4).is_empty());
        assert!(blocked(&s, 0).is_empty());
        assert_eq!(blocked(&s, 1), [4, 5, 6]);
        // Two different words follow 4; then n-grams that overlap.
        assert_eq!(blocked(&sentence(&[4, 5, 4, 6, 4]), 2), [5, 6]);
        assert_eq!(blocked(&sentence(&[4, 4, 4]), 3), [4]);
        assert!(blocked(&sentence(&[4, 4]), 3).is_empty());
        assert!(blocked(&sentence(&[]), 1).is_empty());
    }

    #[test]
    fn a_penalty_multiplies_the_log_probability_of_words_that_were_said() {
        let how = Search {
            repetition_penalty: 1.5,
            ..Search::default()
        };
        let s = sentence(&[4, 5]);
        let penalties = Penalties::of(&s, &how);
        assert_eq!(penalties.apply(4, -2.0), Some(-3.0));
        assert_eq!(penalties.apply(6, -2.0), Some(-2.0));
        assert_eq!(penalties.touched(), 2);
        let neutral = Penalties::of(&s, &Search::default());
        assert_eq!(neutral.apply(4, -2.0), Some(-2.0));
        assert_eq!(neutral.touched(), 0);
    }

    proptest! {
        #[test]
        fn blocking_is_what_its_definition_says(ids in prop::collection::vec(4..7usize, 0..12), n in 1..5usize) {
            let s = sentence(&ids);
            for word in 4..7 {
                let mut longer = ids.clone();
                longer.push(word);
                let repeats = longer.len() > n && {
                    let (last, before) = (&longer[longer.len() - n..], &longer[..longer.len() - 1]);
                    before.windows(n).any(|run| run == last)
                };
                prop_assert_eq!(blocked(&s, n).contains(&word), repeats, "{:?} + {}", &ids, word);
            }
        }
    }
}
