//! Diverse beam search (Vijayakumar et al., 2016, arXiv 1610.02424).
//!
//! The sentences of an ordinary beam differ by a word or two. Here the beam of an image is cut into groups of equal
//! width. At each step the groups choose their words one after the other. A word becomes less attractive to a group
//! with each sentence of an earlier group that was extended by it at this step (the paper's Hamming diversity):
//!
//! ```text
//! merit(y + w) = total(y) + log p(w | y) - diversity x |sentences of earlier groups that go on with w at this step|
//! ```
//!
//! As in the paper, this cost affects only the choice at this step. It is not part of the total that decides later
//! steps and the final order. The end mark costs nothing, since it is not a word. The first group is an ordinary beam
//! search of its width.
//!
//! A group looks at no more words of each row of logits than the undivided beam would. Earlier groups lower at most
//! `beam - width` words; [`penalties`](super::penalties) explains why `width + 1` words beyond those are enough.

use std::sync::Arc;

use super::beam::{Beam, Step, is_new};
use super::chosen::Chosen;
use super::rules::Costs;
use super::sentence::Sentence;
use super::settings::Search;

/// The groups of one image's beam; a single one is ordinary beam search.
pub(super) struct Groups(pub(super) Vec<Beam>);

impl Groups {
    /// Creates the groups. Each begins with the empty sentence, whose state is in this row; `costs` are the costs of
    /// words in this image.
    pub(super) fn new(row: usize, costs: &Arc<Costs>, how: &Search) -> Self {
        let width = how.beam / how.beam_groups;
        let groups = (0..how.beam_groups).map(|_| Beam::new(row, width, costs.clone()));
        Groups(groups.collect())
    }

    /// Extends every open sentence by one word, group by group. Drops sentences that can no longer become one of the
    /// best.
    pub(super) fn extend(&mut self, step: &Step, how: &Search) {
        let mut chosen = Chosen::none(how);
        for group in &mut self.0 {
            group.extend(step, how, &chosen);
            chosen.add(group.last_words());
        }
        // Even a sentence that cannot win influences the choices of later groups, so several groups end together.
        match &mut self.0[..] {
            [single] => single.give_up(how),
            groups => {
                if groups.iter().all(|group| group.is_settled(how)) {
                    groups.iter_mut().for_each(Beam::stop);
                }
            }
        }
    }

    /// Returns the best sentences, best first, as many as the search chooses from.
    ///
    /// Each group gives its best sentence, then each its second best, and so on, which makes the selection as diverse
    /// as the groups are. A sentence that several groups found is returned once.
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
