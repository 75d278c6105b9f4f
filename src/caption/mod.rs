//! Floor 6: from features to sentences.
//!
//! The decoder says, after each word, how likely every next word is. [`search()`] looks for sentences that are
//! likely as a whole; [`sample()`] draws one at random.

mod answer;
mod beam;
mod probability;
mod sample;
mod search;

pub use answer::{Answer, Failure, Times};
pub use sample::{Sampling, sample};
pub use search::{Search, search};

use serde::Serialize;
use utoipa::ToSchema;

use crate::error::Result;
use crate::model::Captioner;

/// A caption and how likely the model thinks it is.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Caption {
    /// The sentence, readable.
    pub text: String,
    /// The natural logarithm of its probability: the sum over its tokens, the end mark included.
    pub log_prob: f64,
    /// Its words, and the end mark where it was reached.
    pub tokens: Vec<Token>,
}

/// A word and how likely it was at its place.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Token {
    /// The word, or `</s>` for the end.
    pub text: String,
    /// The natural logarithm of its probability after the words before it.
    pub log_prob: f64,
}

/// Words as the decoder counts them, each with its log-probability.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sentence {
    pub(crate) words: Vec<(usize, f64)>,
    /// Whether it came to its end mark, which is then the last of `words`.
    pub(crate) finished: bool,
}

impl Sentence {
    pub(crate) fn log_prob(&self) -> f64 {
        self.words.iter().map(|(_, p)| p).sum()
    }

    /// As a reader wants it.
    pub(crate) fn caption(&self, captioner: &Captioner) -> Result<Caption> {
        let vocabulary = &captioner.vocabulary;
        let ids: Vec<u32> = self.words.iter().map(|&(w, _)| w as u32).collect();
        let tokens = self.words.iter().map(|&(w, log_prob)| Token {
            text: vocabulary.word(w as u32).unwrap_or("<unk>").to_string(),
            log_prob,
        });
        Ok(Caption {
            text: vocabulary.decode(&ids)?,
            log_prob: self.log_prob(),
            tokens: tokens.collect(),
        })
    }
}
