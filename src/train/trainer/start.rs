//! The beginning of a run: new, from an encoder, from a whole model, or from a checkpoint.

use std::path::Path;

use super::Trainer;
use crate::data::{Dataset, Example, Split, Vocabulary};
use crate::error::{Error, Result};
use crate::model::{Captioner, Decoder, DenseNet, file};
use crate::nn::{Init, Module};
use crate::tensor::Device;
use crate::train::average::Average;
use crate::train::batches::Samples;
use crate::train::captions::Captions;
use crate::train::checkpoint::Checkpoint;
use crate::train::config::{EncoderTraining, OptimizerConfig, Stage, TrainConfig};
use crate::train::dev::Dev;
use crate::train::optimizer::{Optimizer, Pace};
use crate::train::progress::Progress;
use crate::train::self_critical::Rewards;
use crate::train::student::{Student, encoder_pace};

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
}

impl Trainer {
    /// A new run on the dataset in the folder `data`, computed on `device`.
    ///
    /// # Errors
    /// Where the data, the source or the configuration do not fit.
    pub fn new(
        data: &Path,
        source: Source,
        mut config: TrainConfig,
        device: &Device,
    ) -> Result<Self> {
        config.check()?;
        let dataset = Dataset::open(data)?;
        let examples = dataset.split(Split::Train)?;
        let mut init = Init::new(config.seed);
        let captioner = match source {
            Source::Model(path) => whole_model(path, &mut config)?,
            _ => new_captioner(&examples, source, &config, &mut init)?,
        };
        if config.stage == Stage::SelfCritical && !matches!(source, Source::Model(_)) {
            return Err(Error::usage(
                "stage = \"self-critical\" starts from a captioner that cross-entropy has trained; name it with --init",
            ));
        }
        config.check_decoder()?;
        Self::assemble(&dataset, examples, config, captioner, device)
    }

    /// The run that `checkpoint` was taken of, on the same data.
    ///
    /// # Errors
    /// Where it is no checkpoint or does not fit the data.
    pub fn resume(data: &Path, checkpoint: &Path, device: &Device) -> Result<Self> {
        let Checkpoint {
            file,
            config,
            steps,
            progress,
            ..
        } = Checkpoint::open(checkpoint)?;
        let captioner = Captioner::read(&file)?;
        let dataset = Dataset::open(data)?;
        let examples = dataset.split(Split::Train)?;
        let mut trainer = Self::assemble(&dataset, examples, config, captioner, device)?;
        trainer.optimizer.restore(&file, steps)?;
        if let Some(average) = &mut trainer.average {
            average.restore(&file)?;
        }
        trainer.progress = progress;
        Ok(trainer)
    }

    fn assemble(
        dataset: &Dataset,
        examples: Vec<Example>,
        config: TrainConfig,
        captioner: Captioner,
        device: &Device,
    ) -> Result<Self> {
        // A frozen encoder sees each image once, for its features.
        let cache = match config.encoder.train {
            EncoderTraining::None => 0,
            _ => config.image.cache_mib,
        };
        let samples = |examples, cache| {
            Samples::new(examples, &captioner.vocabulary, config.max_words, cache)
        };
        let train = samples(examples, cache)?;
        let mut notices = Vec::new();
        let dev = dev_examples(dataset, &config, &mut notices)?
            .map(|examples| samples(examples, cache / 4))
            .transpose()?
            .map(|samples| Dev {
                samples,
                features: None,
            });
        let rewards = (config.stage == Stage::SelfCritical).then(|| Rewards::new(&train));
        let mut student = Student { captioner };
        student.to(device)?;
        student
            .captioner
            .encoder
            .set_tuning(config.encoder.tuning());
        student.track_trained(config.encoder.train);
        let optimizer = optimizer(&config, &mut student);
        let average = match config.optimizer.average {
            0.0 => None,
            decay => Some(Average::new(decay, &mut student)),
        };
        Ok(Trainer {
            student,
            optimizer,
            average,
            progress: Progress::default(),
            task: Captions {
                train,
                dev,
                features: None,
                rewards,
            },
            notices,
            dataset: dataset.name().to_string(),
            device: device.clone(),
            config,
        })
    }
}

/// The optimizer of the student's tracked parameters.
fn optimizer(config: &TrainConfig, student: &mut Student) -> Optimizer {
    let own: &OptimizerConfig = &config.optimizer;
    let mut optimizer = Optimizer::new(own, student);
    // Parameters that move alike are moved together.
    if let Some(pace) = encoder_pace(config).filter(|pace| *pace != Pace::of(own)) {
        optimizer.set_pace("encoder.", pace);
    }
    optimizer
}

/// The dev split, where the run evaluates one. A dataset without one can be trained on; the user is told that there
/// are no scores then. A dev split that is there but broken is an error.
fn dev_examples(
    dataset: &Dataset,
    config: &TrainConfig,
    notices: &mut Vec<String>,
) -> Result<Option<Vec<Example>>> {
    if config.validate_every == 0 && config.dev.every == 0 {
        return Ok(None);
    }
    if dataset.has_split(Split::Dev) {
        return dataset.split(Split::Dev).map(Some);
    }
    notices.push(format!(
        "{} has no dev split: no scores are computed, and the last weights are kept",
        dataset.root().display()
    ));
    Ok(None)
}

/// The captioner in the file at `path`; the configuration takes over its decoder's sizes.
fn whole_model(path: &Path, config: &mut TrainConfig) -> Result<Captioner> {
    let mut captioner = Captioner::load(path)?;
    if config.encoder.new.is_some() {
        return Err(Error::usage(format!(
            "--init {} brings an encoder, and encoder.new asks for another; take one of them",
            path.display()
        )));
    }
    config.decoder = config.decoder.adopted(captioner.decoder.config())?;
    captioner.decoder.set_dropout(config.decoder.dropout);
    // The earlier stages' configurations stay readable in the model.
    let before = std::mem::take(&mut captioner.training);
    if !before.is_empty() {
        let before = serde_json::Value::Object(before.into_iter().collect());
        captioner.training.insert("before".into(), before);
    }
    captioner.metrics.clear();
    Ok(captioner)
}

/// A captioner with the encoder of `source` and a new decoder for the words of `examples`.
fn new_captioner(
    examples: &[Example],
    source: Source,
    config: &TrainConfig,
    init: &mut Init,
) -> Result<Captioner> {
    let captions = examples.iter().flat_map(|e| &e.captions);
    let vocabulary = Vocabulary::build(captions, config.min_count)?;
    let mut origin = None;
    let (encoder, recipe) = match (&config.encoder.new, source) {
        (Some(_), Source::Encoder(path) | Source::Model(path)) => {
            return Err(Error::usage(format!(
                "--encoder {} and a new encoder in the configuration: take one of them",
                path.display()
            )));
        }
        (Some(sizes), Source::Default) => (DenseNet::new(sizes, init)?, config.recipe()?),
        (None, Source::Encoder(path) | Source::Model(path)) => {
            let (encoder, description) = file::load_encoder(path)?;
            origin = description.as_ref().and_then(|d| d.origin.clone());
            let recipe = description.map_or_else(|| config.recipe(), |d| Ok(d.recipe))?;
            (encoder, recipe)
        }
        (None, Source::Default) => {
            let bundled = Captioner::bundled()?;
            (bundled.encoder, bundled.recipe)
        }
    };
    let features = encoder.config().features();
    let decoder = Decoder::new(&config.decoder.decoder(features, vocabulary.len()), init)?;
    Ok(Captioner {
        encoder,
        decoder,
        vocabulary,
        recipe,
        origin,
        training: Default::default(),
        metrics: Default::default(),
    })
}
