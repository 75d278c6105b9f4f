//! Whether a run fits into memory, asked before any is taken.
//!
//! What a configuration asks for is added up from below: what the run takes for certain, not what it may take beside
//! that. A run that is let through may still be too large; one that is refused could not have worked.

use super::config::{EncoderTraining, OptimizerKind, TrainConfig};
use crate::cpu::available::{self, Bytes};
use crate::error::{Error, Result};
use crate::model::{DecoderConfig, DenseNetConfig};
use crate::tensor::Device;

/// Bytes of a number.
const NUMBER: u128 = 4;

/// A network, and the sizes of the data that it learns from.
pub(super) struct Plan<'a> {
    /// The configuration.
    config: &'a TrainConfig,
    /// The encoder's sizes.
    encoder: &'a DenseNetConfig,
    /// The decoder's sizes, where one is trained.
    decoder: Option<DecoderConfig>,
    /// Whether the weights are there already, and only what comes beside them is still to be asked for.
    has_encoder: bool,
    has_decoder: bool,
    /// The data, where it is known already.
    data: Option<Data>,
    /// Where it is computed.
    device: &'a Device,
}

/// The sizes of what a run learns from.
#[derive(Clone, Copy)]
pub(super) struct Data {
    /// Images.
    pub(super) images: usize,
    /// Pixels of their sides, as the encoder sees them.
    pub(super) size: usize,
    /// Words of the longest caption, the end mark counted; 0 where there are no captions.
    pub(super) words: usize,
}

/// What one part of a run takes, and the settings that make it so much.
struct Part {
    bytes: u128,
    by: String,
}

impl<'a> Plan<'a> {
    /// An encoder that is still to be made, and nothing else.
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

    /// The encoder is there.
    pub(super) fn with_encoder(self) -> Self {
        Plan {
            has_encoder: true,
            ..self
        }
    }

    /// A decoder that is there.
    pub(super) fn with_decoder(self, decoder: DecoderConfig) -> Self {
        Plan {
            has_decoder: true,
            ..self.with_new_decoder(decoder)
        }
    }

    /// A decoder that is still to be made.
    pub(super) fn with_new_decoder(self, decoder: DecoderConfig) -> Self {
        Plan {
            decoder: Some(decoder),
            ..self
        }
    }

    /// What the networks learn from.
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

    /// How many numbers are still to come for each that is there: itself, and where it is trained its gradient, what the
    /// optimizer remembers of it, and its average.
    fn copies(&self, is_there: bool, is_trained: bool) -> u128 {
        let own = u128::from(!is_there);
        // Weights begin on the processor wherever they are trained.
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
        let copies = self.copies(
            self.has_encoder,
            self.config.encoder.train == EncoderTraining::All,
        );
        let DenseNetConfig {
            growth,
            blocks,
            stem,
            bottleneck,
            ..
        } = self.encoder;
        Part {
            bytes: NUMBER * copies * self.encoder.elements(),
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

    /// What forward and backward pass keep of a batch.
    fn batch(&self) -> Option<Part> {
        let data = self.data.filter(|_| matches!(self.device, Device::Cpu))?;
        let TrainConfig {
            batch, captions, ..
        } = *self.config;
        let images = batch.min(data.images) as u128;
        let encoded = match self.config.encoder.train {
            EncoderTraining::All => self.encoder.kept_elements(data.size),
            // Features, which are read from a file.
            EncoderTraining::None | EncoderTraining::LastBlock => self.encoder.features() as u128,
        };
        // Logits and their gradients, the gates, and the word's vector.
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
        // Weights, gradients, and the two moments of Adam; an encoder that is frozen is there once.
        let sizes = |plan: &Plan| (plan.encoder().bytes, plan.decoder().unwrap().bytes);
        config.optimizer.average = 0.0;
        let new = with_plan(&config, false, sizes);
        assert_eq!(new, (4 * encoder.elements(), 4 * 4 * decoder));
        assert_eq!(with_plan(&config, true, sizes), (0, 3 * 4 * decoder));
        config.encoder.train = EncoderTraining::All;
        config.optimizer.average = 0.999;
        let new = with_plan(&config, false, sizes);
        assert_eq!(new, (5 * 4 * encoder.elements(), 5 * 4 * decoder));

        // A batch has no more images than there are.
        let batch = |config: &TrainConfig| with_plan(config, true, |p| p.batch().unwrap().bytes);
        config.batch = 1;
        let one = batch(&config);
        config.batch = 1000;
        assert_eq!(batch(&config), 1000 * one);
        config.batch = 1 << 20;
        assert_eq!(batch(&config), 100_000 * one);
        let map = |side: u128, channels: u128| side * side * channels;
        let maps = map(8, 256) + map(4, 512) + map(2, 1024) + map(1, 1024);
        assert_eq!(encoder.kept_elements(32), map(32, 3) + map(16, 64) + maps);
    }
}
