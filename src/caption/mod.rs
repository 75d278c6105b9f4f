//! Floor 6: from features to sentences.
//!
//! [`Captioner::describe`](crate::model::Captioner::describe) is the whole way from pixels to a sentence.
//!
//! After each word the decoder predicts how likely every word is to come next. [`search()`] looks for sentences that
//! are likely as a whole; [`sample()`] draws sentences at random. [`search_ids`] and [`sample_ids`] return word ids
//! instead of text, for training that scores the sentences that the decoder writes.

mod agreement;
mod answer;
mod beam;
mod chosen;
mod confidence;
mod describe;
mod diverse;
mod penalties;
mod probability;
mod rules;
mod sample;
mod sample_ids;
mod search;
mod sentence;
mod settings;
#[cfg(test)]
mod tests;

pub use answer::{Answer, Failure, Times, image_name};
#[cfg(feature = "cli")]
pub(crate) use describe::TOGETHER;
pub use describe::{DescribeOptions, Described, NOT_SURE};
pub use sample::{Sampling, sample};
pub use sample_ids::sample_ids;
pub use search::{search, search_ids};
pub use settings::{Choosing, Search};

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::recognition::Signal;

/// A caption, with the probability that the model gives it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Caption {
    /// The sentence as readable text.
    pub text: String,
    /// The natural logarithm of the sentence's probability: the sum over its tokens, the end mark included.
    pub log_prob: f64,
    /// The probability, 0 to 1, that at least half of the content words are words that people would use of the picture.
    /// Present only if the model has been calibrated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// The words, and the end mark if it was reached.
    pub tokens: Vec<Token>,
    /// The signals that the confidence was computed from; empty if there is no confidence.
    #[serde(skip)]
    pub signals: BTreeMap<Signal, f64>,
}

impl Caption {
    /// Whether its confidence is at least `least`; true if it has no confidence or there is no `least`.
    pub(crate) fn is_sure(&self, least: Option<f64>) -> bool {
        self.confidence.unwrap_or(1.0) >= least.unwrap_or(0.0)
    }
}

/// A word or the end mark, with its probability at its position.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Token {
    /// The word, or `</s>` for the end.
    pub text: String,
    /// The natural logarithm of its probability, given the words before it.
    pub log_prob: f64,
    /// The attention weights with which the decoder chose the word: one for each position of the encoder's feature map,
    /// row by row; they add up to 1. Present only if attention was asked for and the decoder attends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attention: Option<Vec<f32>>,
}
