//! `[encoder]` and `[image]`: the encoder, how it is trained, and how an image becomes its input.

use serde::{Deserialize, Serialize};

use super::require;
use crate::data::Method;
use crate::error::{Error, Result};
use crate::model::{DenseNetConfig, Trained, Tuning};

/// The encoder and how it is trained.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EncoderConfig {
    /// `none`: the encoder is frozen and its features are computed once. `last-block`: its last block and its last
    /// batch norm are trained with the decoder. `after-first-block`: all but its first convolution, its first block and the
    /// transition after that. `all`: encoder and decoder are trained end to end.
    pub train: EncoderTraining,
    /// Learning rate of the encoder after warm-up, if it differs from the optimizer's; it follows the same schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr: Option<f32>,
    /// Weight decay of the encoder, if it differs from the optimizer's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f32>,
    /// Statistics of the batch norms in the trained part; `batch` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statistics: Option<NormStatistics>,
    /// Sizes of a new encoder with random weights. Without it the encoder is the one of `--encoder`, or the bundled
    /// one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<DenseNetConfig>,
}

/// The trained part of the encoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EncoderTraining {
    /// Nothing.
    #[default]
    None,
    /// Its last block and its last batch norm.
    LastBlock,
    /// All but its first convolution, its first block and the transition after that.
    AfterFirstBlock,
    /// All of it.
    All,
}

impl EncoderTraining {
    /// Returns the trained part; none if the encoder is frozen.
    pub fn trained(self) -> Option<Trained> {
        match self {
            EncoderTraining::None => None,
            EncoderTraining::LastBlock => Some(Trained::LastBlock),
            EncoderTraining::AfterFirstBlock => Some(Trained::AfterFirstBlock),
            EncoderTraining::All => Some(Trained::All),
        }
    }
}

/// The statistics that batch norms use while they are trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NormStatistics {
    /// The batch's mean and variance, which also update the running statistics.
    Batch,
    /// The encoder's running statistics, which are not updated.
    Frozen,
}

/// How an image becomes the encoder's input, and the memory for decoded images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImageConfig {
    /// `torchvision`, `squash` or `keras-nearest`.
    pub method: Method,
    /// Side of the square input, in pixels.
    pub size: u32,
    /// Memory for decoded training images, in MiB; decoded dev images may take a quarter of it in addition. Cached
    /// images are not decoded again in every epoch. A frozen encoder needs no cache.
    pub cache_mib: usize,
}

impl Default for ImageConfig {
    fn default() -> Self {
        ImageConfig {
            method: Method::Squash,
            size: 224,
            cache_mib: 2048,
        }
    }
}

impl EncoderConfig {
    /// Refuses values out of range.
    pub(super) fn check(&self) -> Result<()> {
        for (name, is_set) in [
            ("lr", self.lr.is_some()),
            ("weight_decay", self.weight_decay.is_some()),
            ("statistics", self.statistics.is_some()),
        ] {
            if is_set && self.train == EncoderTraining::None {
                return Err(Error::usage(format!(
                    "encoder.{name}: a frozen encoder learns nothing; set encoder.train, or leave it out"
                )));
            }
        }
        require(
            self.lr.is_none_or(|lr| lr.is_finite() && lr > 0.0),
            "encoder.lr: must be above 0",
        )?;
        require(
            self.weight_decay.is_none_or(|d| d.is_finite() && d >= 0.0),
            "encoder.weight_decay: must not be negative",
        )?;
        let Some(new) = &self.new else {
            return Ok(());
        };
        new.check()?;
        require(
            self.train == EncoderTraining::All,
            "encoder.new: a new encoder must be trained; set encoder.train = \"all\"",
        )?;
        require(
            self.statistics != Some(NormStatistics::Frozen),
            "encoder.statistics: a new encoder has none to keep; leave it out",
        )
    }

    /// Returns how training treats the encoder.
    pub fn tuning(&self) -> Tuning {
        Tuning {
            trained: self.train.trained().unwrap_or_default(),
            frozen_statistics: self.statistics == Some(NormStatistics::Frozen),
        }
    }
}
