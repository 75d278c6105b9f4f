//! `[decoder]`: the kind of decoder, and its sizes.

use serde::{Deserialize, Serialize};

use super::require;
use crate::error::Result;
use crate::model::{DecoderConfig, DecoderKind};

/// Kind and sizes of the decoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecoderSizes {
    /// `inject`, `par-inject`, `merge` or `attention`; see [`DecoderKind`].
    pub kind: DecoderKind,
    /// Size of a word embedding.
    pub embedding: usize,
    /// Hidden size of each LSTM layer.
    pub hidden: usize,
    /// Number of LSTM layers, 1 or 2; 1 for `attention`.
    pub layers: usize,
    /// `attention`: size of a position's key.
    pub attention: usize,
    /// Whether the output layer shares its matrix with the word embedding (Press and Wolf, 2017, arXiv 1608.05859).
    pub tied: bool,
    /// Dropout probability, in `[0, 1)`.
    pub dropout: f32,
}

impl Default for DecoderSizes {
    fn default() -> Self {
        DecoderSizes {
            kind: DecoderKind::default(),
            embedding: 256,
            hidden: 256,
            layers: 1,
            attention: 256,
            tied: false,
            dropout: 0.4,
        }
    }
}

impl DecoderSizes {
    pub(super) fn check(&self) -> Result<()> {
        require(
            (0.0..1.0).contains(&self.dropout),
            "decoder.dropout: must be in [0, 1)",
        )
    }

    /// Returns the configuration of a decoder for an encoder with `features` channels and a `vocabulary` of this size.
    pub fn decoder(&self, features: usize, vocabulary: usize) -> DecoderConfig {
        DecoderConfig {
            features,
            embedding: self.embedding,
            hidden: self.hidden,
            vocabulary,
            dropout: self.dropout,
            kind: self.kind,
            layers: self.layers,
            tied: self.tied,
            attention: match self.kind {
                DecoderKind::Attention => self.attention,
                _ => 0,
            },
        }
    }

    /// Returns the sizes of an existing decoder, with the `dropout` of this configuration.
    ///
    /// # Errors
    /// Fails if this configuration asks for another decoder: its fields are neither the defaults nor those of
    /// `decoder`.
    pub fn adopted(&self, decoder: &DecoderConfig) -> Result<Self> {
        let theirs = DecoderSizes {
            kind: decoder.kind,
            embedding: decoder.embedding,
            hidden: decoder.hidden,
            layers: decoder.layers,
            attention: match decoder.kind {
                DecoderKind::Attention => decoder.attention,
                _ => DecoderSizes::default().attention,
            },
            tied: decoder.tied,
            dropout: self.dropout,
        };
        let unchanged = DecoderSizes {
            dropout: self.dropout,
            ..DecoderSizes::default()
        };
        require(
            *self == theirs || *self == unchanged,
            "decoder: the configuration asks for another decoder than the model of --init has; leave [decoder] out",
        )?;
        Ok(theirs)
    }
}
