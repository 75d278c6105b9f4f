//! The networks that a run starts from.

use std::path::Path;

use crate::data::{Dataset, Recipe, Split, Vocabulary};
use crate::error::{self, Error, Result};
use crate::model::{Captioner, Decoder, DenseNet, DenseNetConfig, Origin, Tags, file};
use crate::nn::Init;
use crate::tensor::Device;
use crate::train::config::TrainConfig;
use crate::train::memory::Plan;

/// The weights that a new run starts from.
#[derive(Clone, Copy, Debug, Default)]
pub enum Source<'a> {
    /// The bundled encoder, or the new one of the configuration; the decoder is new.
    #[default]
    Default,
    /// The encoder in this file; the decoder is new.
    Encoder(&'a Path),
    /// The encoder, decoder and vocabulary in this file, a model or a checkpoint.
    Model(&'a Path),
    /// The encoder, decoder and vocabulary of the bundled model.
    Bundled,
}

impl Source<'_> {
    /// Returns the name for a model's notes, without folders: a model does not store where files lay on this machine.
    pub(super) fn file_name(&self) -> String {
        match self {
            Source::Encoder(path) | Source::Model(path) => {
                let name = path.file_name().unwrap_or_default();
                name.to_string_lossy().into_owned()
            }
            other => other.name(),
        }
    }

    /// Returns the name for messages.
    pub(super) fn name(&self) -> String {
        match self {
            Source::Default => "default".into(),
            Source::Encoder(path) | Source::Model(path) => error::name(path).to_string(),
            Source::Bundled => "bundled".into(),
        }
    }
}

/// Creates a captioner with the encoder of `source` and a new decoder for the words of the training captions.
pub(super) fn new_captioner(
    dataset: &Dataset,
    source: Source,
    config: &TrainConfig,
    init: &mut Init,
    device: &Device,
) -> Result<Captioner> {
    let examples = dataset.split(Split::Train)?;
    let captions = examples.iter().flat_map(|e| &e.captions);
    let vocabulary = Vocabulary::build(captions, config.min_count)?;
    let words = vocabulary.len();
    let decoder_for = |encoder: &DenseNetConfig| config.decoder.decoder(encoder.features(), words);
    if let Some(sizes) = &config.encoder.new {
        let plan = Plan::new(config, sizes, device);
        plan.with_new_decoder(decoder_for(sizes)).check()?;
    }
    let Start {
        encoder,
        recipe,
        origin,
        tags,
    } = encoder(source, config, init)?;
    let decoder = decoder_for(encoder.config());
    if config.encoder.new.is_none() {
        let plan = Plan::new(config, encoder.config(), device).with_encoder();
        plan.with_new_decoder(decoder.clone()).check()?;
    }
    let decoder = Decoder::new(&decoder, init)?;
    Ok(Captioner {
        encoder,
        decoder,
        vocabulary,
        recipe,
        tags,
        recognition: None,
        origin,
        training: Default::default(),
        metrics: Default::default(),
    })
}

/// The encoder that a new run starts from.
pub(super) struct Start {
    pub(super) encoder: DenseNet,
    pub(super) recipe: Recipe,
    /// Origin of converted weights.
    origin: Option<Origin>,
    /// Classes that it recognises, if it has tags.
    tags: Option<Tags>,
}

/// Loads or creates the encoder of a new run, with its origin and tags.
pub(super) fn encoder(source: Source, config: &TrainConfig, init: &mut Init) -> Result<Start> {
    match (&config.encoder.new, source) {
        (Some(_), Source::Encoder(_) | Source::Model(_) | Source::Bundled) => {
            Err(Error::usage(format!(
                "--encoder {} and a new encoder in the configuration: take one of them",
                source.name()
            )))
        }
        (Some(sizes), Source::Default) => Ok(Start {
            encoder: DenseNet::new(sizes, init)?,
            recipe: config.recipe()?,
            origin: None,
            tags: None,
        }),
        (None, Source::Encoder(path) | Source::Model(path)) => {
            let file = file::read_encoder(path)?;
            let recipe = file.description.as_ref().map(|d| d.recipe);
            Ok(Start {
                encoder: file.encoder,
                recipe: recipe.map_or_else(|| config.recipe(), Ok)?,
                origin: file.description.and_then(|d| d.origin),
                tags: file.tags,
            })
        }
        (None, Source::Default | Source::Bundled) => {
            let bundled = Captioner::bundled()?;
            Ok(Start {
                encoder: bundled.encoder,
                recipe: bundled.recipe,
                origin: None,
                tags: bundled.tags,
            })
        }
    }
}
