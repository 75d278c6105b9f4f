//! A sentence as the search and the draw build it, word by word.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Caption, Token};
use crate::data::vocabulary::END;
use crate::error::Result;
use crate::model::{Captioner, DecoderState};
use crate::tensor::{Device, Tensor};

/// The attention weights of a step for one sentence. Sentences with a common beginning share them.
pub(super) type Weights = Arc<[f32]>;

/// A word of a sentence.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Word {
    pub(crate) id: usize,
    /// The natural logarithm of its probability, given the words before it.
    pub(crate) log_prob: f64,
    /// The attention weight of each position of the map, if asked for.
    pub(crate) attention: Option<Weights>,
}

/// A sentence, or the beginning of one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sentence {
    pub(crate) words: Vec<Word>,
    /// Whether it has ended; its end mark is then the last of `words`.
    pub(crate) finished: bool,
    /// The sum of the words' log-probabilities after penalties, by which a search compares sentences.
    pub(crate) total: f64,
}

impl Sentence {
    /// Appends a word whose log-probability after penalties is `penalised`.
    pub(super) fn push(&mut self, word: Word, penalised: f64) {
        self.finished = word.id == END as usize;
        self.total += penalised;
        self.words.push(word);
    }

    /// Drops words from the end of a sentence that was cut, while `ends_badly` holds for them. The first word stays.
    /// The total remains that of all words, so that the sentence keeps its rank among the other sentences that were
    /// cut.
    pub(super) fn drop_last_while(&mut self, ends_badly: impl Fn(usize) -> bool) {
        while self.words.len() > 1 && self.words.last().is_some_and(|word| ends_badly(word.id)) {
            self.words.pop();
        }
    }

    /// Returns the model's own log-probability, without penalties.
    pub(crate) fn log_prob(&self) -> f64 {
        self.words.iter().map(|word| word.log_prob).sum()
    }

    /// Returns the words' ids, the end mark included if it was reached.
    pub(super) fn ids(&self) -> impl DoubleEndedIterator<Item = usize> + ExactSizeIterator + '_ {
        self.words.iter().map(|word| word.id)
    }

    /// Converts the sentence to a caption with readable text.
    pub(crate) fn caption(&self, captioner: &Captioner) -> Result<Caption> {
        let vocabulary = &captioner.vocabulary;
        let ids: Vec<u32> = self.ids().map(|id| id as u32).collect();
        let tokens = self.words.iter().map(|word| Token {
            text: vocabulary
                .word(word.id as u32)
                .unwrap_or("<unk>")
                .to_string(),
            log_prob: word.log_prob,
            attention: word.attention.as_ref().map(|weights| weights.to_vec()),
        });
        Ok(Caption {
            text: vocabulary.decode(&ids)?,
            log_prob: self.log_prob(),
            confidence: None,
            tokens: tokens.collect(),
            signals: BTreeMap::new(),
        })
    }
}

/// Returns the attention weights of the step that led to `state`, one row for each of its sentences. Empty if they are
/// not `wanted` or the decoder does not attend.
pub(super) fn attention(state: &DecoderState, wanted: bool) -> Result<Vec<Weights>> {
    match state.attention() {
        Some(weights) if wanted => rows(weights),
        _ => Ok(Vec::new()),
    }
}

fn rows(weights: &Tensor) -> Result<Vec<Weights>> {
    let positions = weights.dims().last().copied().unwrap_or(0).max(1);
    let weights = weights.to(&Device::Cpu)?;
    Ok(weights
        .data()
        .chunks_exact(positions)
        .map(Weights::from)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{here, on_every_device, random};

    #[test]
    fn every_sentence_has_its_row_of_weights() {
        on_every_device(|| {
            let weights = random(&[5, 6], 1);
            let all = rows(&weights).unwrap();
            assert_eq!(all.len(), 5);
            for (row, weights) in all.iter().zip(weights.data().chunks_exact(6)) {
                assert_eq!(row[..], *weights);
            }
            // A view that begins in the middle of its buffer.
            let some = rows(&here(weights.clone()).narrow(3, 2).unwrap()).unwrap();
            assert_eq!(some[..], all[3..]);
            // This test harness requires at least one GPU dispatch.
            crate::ops::scale(&weights, 2.0).unwrap();
        });
    }

    #[test]
    fn a_sentence_ends_with_its_end_mark_and_adds_up_its_words() {
        let mut sentence = Sentence::default();
        let weights: Weights = vec![0.25, 0.75].into();
        for (id, log_prob, penalised) in [(4, -0.5, -0.5), (4, -1.0, -1.5), (2, -0.25, -0.25)] {
            assert!(!sentence.finished);
            let attention = Some(weights.clone());
            sentence.push(
                Word {
                    id,
                    log_prob,
                    attention,
                },
                penalised,
            );
        }
        assert!(sentence.finished);
        assert_eq!(sentence.ids().collect::<Vec<_>>(), [4, 4, 2]);
        assert_eq!((sentence.log_prob(), sentence.total), (-1.75, -2.25));
    }
}
