//! Floor 6: from features to sentences.
//!
//! The decoder says, after each word, how likely every next word is. [`search()`] looks for sentences that are
//! likely as a whole; [`sample()`] draws one at random. [`search_ids`] and [`sample_ids`] give words' ids instead of text,
//! for training that scores what the decoder writes.

mod agreement;
mod answer;
mod beam;
mod confidence;
mod diverse;
mod penalties;
mod probability;
mod rules;
mod sample;
mod sample_ids;
mod search;
mod sentence;
#[cfg(test)]
mod tests;

pub use answer::{Answer, Failure, Times, image_name};
pub use sample::{Sampling, sample};
pub use sample_ids::sample_ids;
pub use search::{Choosing, Search, search, search_ids};

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::model::recognition::Signal;

/// A caption and how likely the model thinks it is.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Caption {
    /// The sentence, readable.
    pub text: String,
    /// The natural logarithm of its probability: the sum over its tokens, the end mark included.
    pub log_prob: f64,
    /// The probability that at least half of its content words are words that people would use of the picture, 0 to 1;
    /// only where the model has been calibrated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// Its words, and the end mark where it was reached.
    pub tokens: Vec<Token>,
    /// What the confidence was computed from; empty where there is none.
    #[serde(skip)]
    pub signals: BTreeMap<Signal, f64>,
}

/// A word and how likely it was at its place.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Token {
    /// The word, or `</s>` for the end.
    pub text: String,
    /// The natural logarithm of its probability after the words before it.
    pub log_prob: f64,
    /// How much the decoder looked at each position of the encoder's map before it chose the word, row by row; the numbers
    /// add up to 1. Only where it was asked for and the decoder attends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attention: Option<Vec<f32>>,
}
