//! The check that a run fits into memory, made before its memory is allocated.
//!
//! The estimate is a lower bound: it adds up the memory that the run certainly needs. A run that passes may still be
//! too large; a run that is refused could not have worked.

use super::config::{OptimizerKind, TrainConfig};
use crate::cpu::available::{self, Bytes};
use crate::error::{Error, Result};
use crate::model::{DecoderConfig, DenseNetConfig};
use crate::tensor::Device;

/// Bytes per element.
const NUMBER: u128 = 4;

/// The networks of a run, and the sizes of its data.
pub(super) struct Plan<'a> {
    /// The configuration.
    config: &'a TrainConfig,
    /// Sizes of the encoder.
    encoder: &'a DenseNetConfig,
    /// Sizes of the decoder, if one is trained.
    decoder: Option<DecoderConfig>,
    /// Whether the encoder's weights are already allocated, so that only gradients, moments and averages count.
    has_encoder: bool,
    has_decoder: bool,
    /// Sizes of the data, if already known.
    data: Option<Data>,
    /// The device that computes.
    device: &'a Device,
}

/// Sizes of the training data.
#[derive(Clone, Copy)]
pub(super) struct Data {
    /// Number of images.
    pub(super) images: usize,
    /// Side of the encoder's input, in pixels.
    pub(super) size: usize,
    /// Number of tokens of the longest caption, the end mark included; 0 without captions.
    pub(super) words: usize,
}

/// Memory of one part of a run, and the settings that determine it.
struct Part {
    bytes: u128,
    by: String,
}

impl<'a> Plan<'a> {
    /// Plans an encoder that is not yet allocated, without a decoder or data.
    pub(super) fn new(
        config: &'a TrainConfig,
        encoder: &'a DenseNetConfig,
        device: &'a Device,
    ) -> Self {
        Plan {
            config,
            encoder,
            decoder: None,
            has_encoder: false,
            has_decoder: false,
            data: None,
            device,
        }
    }

    /// Marks the encoder as allocated.
    pub(super) fn with_encoder(self) -> Self {
        Plan {
            has_encoder: true,
            ..self
        }
    }

    /// Adds a decoder that is already allocated.
    pub(super) fn with_decoder(self, decoder: DecoderConfig) -> Self {
        Plan {
            has_decoder: true,
            ..self.with_new_decoder(decoder)
        }
    }

    /// Adds a decoder that is not yet allocated.
    pub(super) fn with_new_decoder(self, decoder: DecoderConfig) -> Self {
        Plan {
            decoder: Some(decoder),
            ..self
        }
    }

    /// Adds the sizes of the training data.
    pub(super) fn with_data(self, data: Data) -> Self {
        Plan {
            data: Some(data),
            ..self
        }
    }

    /// Refuses a run for which there is not enough memory.
    ///
    /// # Errors
    /// One line that names the settings of the largest part, and both sizes.
    pub(super) fn check(&self) -> Result<()> {
        let parts = [Some(self.encoder()), self.decoder(), self.batch()];
        let parts: Vec<Part> = parts.into_iter().flatten().collect();
        let bytes = parts.iter().map(|part| part.bytes).sum();
        available::check(bytes).map_err(|available| {
            let largest = parts.iter().max_by_key(|part| part.bytes);
            let largest = largest.map_or_else(String::new, |part| {
                format!("; {} takes {}", part.by, Bytes(part.bytes))
            });
            Error::usage(format_args!(
                "the training takes at least {} of memory, and {available}{largest}; make that smaller",
                Bytes(bytes)
            ))
        })
    }

    /// Returns the number of allocations still to come per weight: the weight itself, and if it is trained its
    /// gradient, the optimizer's moments, and its average.
    fn copies(&self, is_there: bool, is_trained: bool) -> u128 {
        let own = u128::from(!is_there);
        // Weights are allocated on the CPU first, even if they are trained on a GPU. The rest lies in the GPU's memory.
        if matches!(self.device, Device::Gpu(_)) || !is_trained {
            return own;
        }
        let moments = match self.config.optimizer.kind {
            OptimizerKind::Sgd => 1,
            _ => 2,
        };
        own + 1 + moments + u128::from(self.config.optimizer.average > 0.0)
    }

    fn encoder(&self) -> Part {
        let weights = self.copies(self.has_encoder, false) * self.encoder.elements();
        let trained = self.config.encoder.train.trained();
        let trained = trained.map_or(0, |part| {
            self.copies(true, true) * self.encoder.trained_elements(part)
        });
        let DenseNetConfig {
            growth,
            blocks,
            stem,
            bottleneck,
            ..
        } = self.encoder;
        Part {
            bytes: NUMBER * (weights + trained),
            by: format!(
                "the encoder (growth = {growth}, blocks = {blocks:?}, stem = {stem}, bottleneck = {bottleneck})"
            ),
        }
    }

    fn decoder(&self) -> Option<Part> {
        let decoder = self.decoder.as_ref()?;
        let DecoderConfig {
            embedding,
            hidden,
            vocabulary,
            ..
        } = decoder;
        Some(Part {
            bytes: NUMBER * self.copies(self.has_decoder, true) * decoder.elements(),
            by: format!(
                "the decoder (decoder.embedding = {embedding}, decoder.hidden = {hidden}, {vocabulary} words)"
            ),
        })
    }

    /// Returns the memory that forward and backward pass keep of a mini-batch.
    fn batch(&self) -> Option<Part> {
        let data = self.data.filter(|_| matches!(self.device, Device::Cpu))?;
        let TrainConfig {
            batch, captions, ..
        } = *self.config;
        let images = batch.min(data.images) as u128;
        let encoded = match self.config.encoder.train.trained() {
            Some(trained) => self.encoder.kept_elements(trained, data.size),
            // The features are read from a file.
            None => self.encoder.features() as u128,
        };
        // Logits and their gradients, the gates, and the word embedding.
        let steps = data.words.min(self.config.max_words + 1);
        let said = self.decoder.as_ref().map_or(0, |decoder| {
            2 * decoder.vocabulary as u128
                + 4 * decoder.hidden as u128 * decoder.layers as u128
                + decoder.embedding as u128
        });
        let an_image = encoded + captions as u128 * steps as u128 * said;
        let size = data.size;
        Some(Part {
            bytes: NUMBER * images * an_image,
            by: format!(
                "a batch (batch = {batch}, captions = {captions}, up to {steps} words, images of {size} x {size} pixels)"
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Trained;
    use crate::train::config::EncoderTraining;

    const DATA: Data = Data {
        images: 100_000,
        size: 32,
        words: 11,
    };

    fn with_plan<R>(config: &TrainConfig, is_loaded: bool, f: impl FnOnce(&Plan) -> R) -> R {
        let encoder = DenseNetConfig::named("densenet121").unwrap();
        let decoder = config.decoder.decoder(1024, 50);
        let plan = Plan::new(config, &encoder, &Device::Cpu).with_data(DATA);
        f(&match is_loaded {
            false => plan.with_new_decoder(decoder),
            true => plan.with_encoder().with_decoder(decoder),
        })
    }

    #[test]
    fn what_cannot_fit_is_refused_by_name() {
        let check = |change: fn(&mut TrainConfig)| {
            let mut config = TrainConfig::default();
            config.encoder.train = EncoderTraining::All;
            config.batch = 4;
            change(&mut config);
            with_plan(&config, false, |plan| plan.check())
        };
        check(|_| ()).unwrap();
        let refused = |change: fn(&mut TrainConfig)| check(change).unwrap_err().to_string();
        let message = refused(|config| config.decoder.hidden = 1_000_000);
        assert!(message.contains("decoder.hidden = 1000000"), "{message}");
        let message = refused(|config| {
            config.batch = 1 << 16;
            config.captions = 100;
            config.decoder.hidden = 1 << 13;
        });
        let expected = "a batch (batch = 65536, captions = 100";
        assert!(message.contains(expected), "{message}");
    }

    #[test]
    fn sizes_add_up() {
        let mut config = TrainConfig::default();
        let encoder = DenseNetConfig::named("densenet121").unwrap();
        let decoder = config.decoder.decoder(1024, 50).elements();
        // Weights, gradients, and the two moments of Adam; a frozen encoder counts once.
        let sizes = |plan: &Plan| (plan.encoder().bytes, plan.decoder().unwrap().bytes);
        config.optimizer.average = 0.0;
        let new = with_plan(&config, false, sizes);
        assert_eq!(new, (4 * encoder.elements(), 4 * 4 * decoder));
        assert_eq!(with_plan(&config, true, sizes), (0, 3 * 4 * decoder));
        config.encoder.train = EncoderTraining::All;
        config.optimizer.average = 0.999;
        let new = with_plan(&config, false, sizes);
        assert_eq!(new, (5 * 4 * encoder.elements(), 5 * 4 * decoder));
        for (train, part) in [
            (EncoderTraining::AfterFirstBlock, Trained::AfterFirstBlock),
            (EncoderTraining::LastBlock, Trained::LastBlock),
        ] {
            config.encoder.train = train;
            let new = with_plan(&config, false, sizes).0;
            let trained = encoder.trained_elements(part);
            assert!(trained < encoder.elements());
            assert_eq!(new, 4 * (encoder.elements() + 4 * trained));
        }
        config.encoder.train = EncoderTraining::All;

        // A mini-batch has at most as many images as the data.
        let batch = |config: &TrainConfig| with_plan(config, true, |p| p.batch().unwrap().bytes);
        config.batch = 1;
        let one = batch(&config);
        config.batch = 1000;
        assert_eq!(batch(&config), 1000 * one);
        config.batch = 1 << 20;
        assert_eq!(batch(&config), 100_000 * one);
        let map = |side: u128, channels: u128| side * side * channels;
        let later = map(4, 512) + map(2, 1024) + map(1, 1024);
        let all = map(32, 3) + map(16, 64) + map(8, 256) + later;
        assert_eq!(encoder.kept_elements(Trained::All, 32), all);
        assert_eq!(encoder.kept_elements(Trained::AfterFirstBlock, 32), later);
        assert_eq!(encoder.kept_elements(Trained::LastBlock, 32), map(1, 1024));
    }
}
