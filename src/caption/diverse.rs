//! Diverse beam search (Vijayakumar et al., 2016, arXiv 1610.02424).
//!
//! The sentences of a beam differ by a word or two. Here the beam of an image is cut into groups of equal width. At each
//! step the groups choose their words one after the other, and a group finds a word less attractive the more sentences of
//! earlier groups have just been given it (the paper's Hamming diversity):
//!
//! ```text
//! merit(y + w) = total(y) + log p(w | y) - diversity x |sentences of earlier groups that go on with w at this step|
//! ```
//!
//! As in the paper, the cost decides only what is chosen at this step: it is not part of the total that later steps and
//! the final order go by. The end mark is no word, and costs nothing. The first group is an ordinary beam search of its
//! width.
//!
//! A group looks at no more of each row of logits than the whole beam would: earlier groups lower at most
//! `beam - width` words, and [`penalties`](super::penalties) says why `width + 1` words and those are enough.

use std::sync::Arc;

use super::beam::{Beam, Step, is_new};
use super::rules::Costs;
use super::search::Search;
use super::sentence::Sentence;

/// How often earlier groups have chosen each word at a step.
pub(super) struct Chosen {
    diversity: f64,
    /// Each word as often as it was chosen; as few as the beam is wide.
    words: Vec<usize>,
}

impl Chosen {
    pub(super) fn none(how: &Search) -> Self {
        Chosen {
            diversity: how.diversity,
            words: Vec::new(),
        }
    }

    /// The cost of choosing `word`.
    pub(super) fn cost(&self, word: usize) -> f64 {
        let times = self.words.iter().filter(|&&w| w == word).count();
        self.diversity * times as f64
    }
}

/// The groups of one image's beam; a single one is ordinary beam search.
pub(super) struct Groups(pub(super) Vec<Beam>);

impl Groups {
    /// All groups begin with the sentence without words, whose state is in this row; words cost this in its image.
    pub(super) fn new(row: usize, costs: &Arc<Costs>, how: &Search) -> Self {
        let width = how.beam / how.beam_groups;
        let groups = (0..how.beam_groups).map(|_| Beam::new(row, width, costs.clone()));
        Groups(groups.collect())
    }

    /// Extends every open sentence by one word, group by group, and drops sentences without hope.
    pub(super) fn extend(&mut self, step: &Step, how: &Search) {
        let mut chosen = Chosen::none(how);
        for group in &mut self.0 {
            group.extend(step, how, &chosen);
            chosen.words.extend(group.last_words());
        }
        // A sentence without hope still influences what later groups choose, so several groups end together.
        match &mut self.0[..] {
            [single] => single.give_up(how),
            groups => {
                if groups.iter().all(|group| group.is_settled(how)) {
                    groups.iter_mut().for_each(Beam::stop);
                }
            }
        }
    }

    /// The best sentences, as many as the search wants to choose from, the best first.
    ///
    /// Each group gives its best, then each its second best, and so on, so that the selection is as diverse as the groups
    /// are. A sentence that several groups found is given once.
    pub(super) fn best(self, how: &Search) -> Vec<Sentence> {
        let wanted = how.candidates();
        let lists = self.0.into_iter().map(|group| group.into_sentences(how));
        let mut lists: Vec<_> = lists.map(Vec::into_iter).collect();
        if let [single] = &mut lists[..] {
            return single.take(wanted).collect();
        }
        let mut best: Vec<Sentence> = Vec::new();
        while best.len() < wanted {
            let mut round: Vec<Sentence> = lists.iter_mut().filter_map(Iterator::next).collect();
            if round.is_empty() {
                break;
            }
            how.rank(&mut round);
            for sentence in round {
                if best.len() < wanted && is_new(&sentence, &best) {
                    best.push(sentence);
                }
            }
        }
        how.rank(&mut best);
        best
    }
}
