//! The words that the groups of a [diverse](super::diverse) beam search choose at a step, and the cost of choosing them again.

use super::settings::Search;

/// The words that earlier groups have chosen at a step.
pub(super) struct Chosen {
    diversity: f64,
    /// Each word as often as it was chosen, so at most as many entries as the beam is wide.
    words: Vec<usize>,
}

impl Chosen {
    pub(super) fn none(how: &Search) -> Self {
        Chosen {
            diversity: how.diversity,
            words: Vec::new(),
        }
    }

    /// Returns the cost of choosing `word`.
    pub(super) fn cost(&self, word: usize) -> f64 {
        let times = self.words.iter().filter(|&&w| w == word).count();
        self.diversity * times as f64
    }

    /// Adds the words that a group has chosen.
    pub(super) fn add(&mut self, words: impl Iterator<Item = usize>) {
        self.words.extend(words);
    }
}
