//! The beginning of a run: new, from an encoder, from a whole model, or from a checkpoint.

use std::path::Path;
use std::sync::Arc;

use super::data::Resumed;
use super::save::DEV;
use super::{Trainer, changes};
use crate::data::{Dataset, Example, Recipe, Split, Vocabulary};
use crate::error::{self, Error, Result};
use crate::model::{Captioner, Decoder, DenseNet, DenseNetConfig, Origin, Tags, file};
use crate::nn::{Init, Module};
use crate::tensor::Device;
use crate::train::average::Average;
use crate::train::batches::Samples;
use crate::train::captions::Captions;
use crate::train::checkpoint::{Checkpoint, PROGRESS};
use crate::train::config::{Change, EncoderTraining, OptimizerConfig, Stage, TrainConfig};
use crate::train::dev::Dev;
use crate::train::distill::{Ahead, Distillation, Picture};
use crate::train::distilling::Distilling;
use crate::train::memory::{self, Plan};
use crate::train::optimizer::{Optimizer, Pace};
use crate::train::progress::Progress;
use crate::train::self_critical::Rewards;
use crate::train::work::{Work, encoder_pace};

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

/// The dataset of a run, and sentences about it for the user.
struct Data {
    dataset: Dataset,
    notices: Vec<String>,
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
        let mut data = Data::open(data)?;
        let mut init = Init::new(config.seed);
        let work = match (config.stage, source) {
            (Stage::Distill, _) => {
                if let Some(sizes) = &config.encoder.new {
                    Plan::new(&config, sizes, device).check()?;
                }
                let start = encoder(source, &config, &mut init)?;
                let heads = Some(&mut init);
                Work::Distilling(data.distilling(
                    start.encoder,
                    start.recipe,
                    heads,
                    &config,
                    device,
                )?)
            }
            (Stage::SelfCritical, Source::Default | Source::Encoder(_)) => {
                return Err(Error::usage(
                    "stage = \"self-critical\" starts from a captioner that cross-entropy has trained; name it with \
                     --init",
                ));
            }
            (_, Source::Model(path)) => {
                let captioner = whole_model(path, &mut config)?;
                Work::Captions(data.captions(captioner, &config, device)?)
            }
            _ => {
                let captioner = new_captioner(&data.dataset, source, &config, &mut init, device)?;
                Work::Captions(data.captions(captioner, &config, device)?)
            }
        };
        config.check_decoder()?;
        Self::assemble(data, config, work, device)
    }

    /// The run that `checkpoint` was taken of, on the same data; whether it is the same, [`Trainer::run`] finds out.
    ///
    /// # Errors
    /// Where it is no checkpoint or does not fit the data.
    pub fn resume(data: &Path, checkpoint: &Path, device: &Device) -> Result<Self> {
        Self::resume_with(data, checkpoint, &[], device)
    }

    /// As [`Trainer::resume`], with these settings from now on. The model and later checkpoints say what was changed, and
    /// after which step.
    ///
    /// # Errors
    /// As [`Trainer::resume`], and where a setting cannot be changed any more.
    pub fn resume_with(
        data: &Path,
        checkpoint: &Path,
        changes: &[Change],
        device: &Device,
    ) -> Result<Self> {
        let Checkpoint {
            file,
            description,
            config: before,
            steps,
            progress,
            data: trained_on,
        } = Checkpoint::open(checkpoint)?;
        if let Some(refusal) = changes.iter().find_map(Change::refusal) {
            return Err(Error::usage(refusal));
        }
        let config = before.with(changes)?;
        let history = changes::of(&description, &before, &config, steps);
        let mut data = Data::open(data)?;
        let mut targets = None;
        let work = match config.stage {
            Stage::Distill => {
                file::check_size(&file, description.encoder.elements())?;
                let encoder = DenseNet::new(&description.encoder, &mut Init::blank())?;
                let recipe = description.recipe;
                let mut work = data.distilling(encoder, recipe, None, &config, device)?;
                targets = work.check_targets(&file, &description).err();
                if let Err(e) = file::load_module(&file, "", &mut *work) {
                    return Err(targets.unwrap_or(e));
                }
                Work::Distilling(work)
            }
            _ => {
                let mut captioner = Captioner::read(&file)?;
                // The checkpoint's own note, which a model does not have.
                captioner.training.remove(PROGRESS);
                let dropout = config.decoder.dropout;
                captioner.decoder = captioner.decoder.with_dropout(dropout)?;
                Work::Captions(data.captions(captioner, &config, device)?)
            }
        };
        let mut trainer = Self::assemble(data, config, work, device)?;
        trainer.optimizer.restore(&file, steps)?;
        if let Some(average) = &mut trainer.average {
            average.restore(&file)?;
        }
        trainer.progress = progress;
        trainer.adopt_changes(history, &before, steps)?;
        if let Some(scores) = description.training.get(DEV) {
            trainer.work.training().insert(DEV.into(), scores.clone());
        }
        trainer.resumed = Some(Resumed {
            checkpoint: checkpoint.to_path_buf(),
            data: trained_on,
            targets,
        });
        Ok(trainer)
    }

    fn assemble(data: Data, config: TrainConfig, mut work: Work, device: &Device) -> Result<Self> {
        work.to(device)?;
        work.prepare(&config);
        let optimizer = optimizer(&config, &mut work);
        let average = match config.optimizer.average {
            0.0 => None,
            decay => Some(Average::new(decay, &mut work)),
        };
        Ok(Trainer {
            work,
            optimizer,
            average,
            progress: Progress::default(),
            dataset: data.dataset.name().to_string(),
            notices: data.notices,
            config,
            data: None,
            resumed: None,
            may_change: false,
        })
    }
}

impl Data {
    fn open(path: &Path) -> Result<Self> {
        Ok(Data {
            dataset: Dataset::open(path)?,
            notices: Vec::new(),
        })
    }

    /// The work of the caption stages.
    fn captions(
        &mut self,
        captioner: Captioner,
        config: &TrainConfig,
        device: &Device,
    ) -> Result<Box<Captions>> {
        // A frozen encoder sees each image once, for its features.
        let cache = match config.encoder.train {
            EncoderTraining::None => 0,
            _ => config.image.cache_mib,
        };
        let samples = |examples, cache| {
            Samples::new(examples, &captioner.vocabulary, config.max_words, cache)
        };
        let train = samples(self.dataset.split(Split::Train)?, cache)?;
        let plan = Plan::new(config, captioner.encoder.config(), device).with_encoder();
        let plan = plan.with_decoder(captioner.decoder.config().clone());
        plan.with_data(memory::Data {
            images: train.len(),
            size: captioner.recipe.size() as usize,
            words: train.longest(),
        })
        .check()?;
        let dev = match self.dev_examples(config)? {
            Some(examples) => Some(Dev {
                samples: samples(examples, cache / 4)?,
                features: None,
            }),
            None => None,
        };
        let rewards = (config.stage == Stage::SelfCritical)
            .then(|| Rewards::new(&train, &captioner.vocabulary));
        Ok(Box::new(Captions {
            captioner,
            train,
            dev,
            features: None,
            rewards,
        }))
    }

    /// The dev split, where the run evaluates one. A dataset without one can be trained on; the user is told that there
    /// are no scores then. A dev split that is there but broken is an error.
    fn dev_examples(&mut self, config: &TrainConfig) -> Result<Option<Vec<Example>>> {
        if config.validate_every == 0 && config.dev.every == 0 {
            return Ok(None);
        }
        if self.dataset.has_split(Split::Dev) {
            return self.dataset.split(Split::Dev).map(Some);
        }
        self.notices.push(format!(
            "{} has no dev split: no scores are computed, the last weights are kept, and dev.patience and a plateau \
             schedule have no effect",
            error::name(self.dataset.root())
        ));
        Ok(None)
    }

    /// The work of the stage `distill`. The layers that predict the teachers are drawn from `init`, or zeros that a
    /// checkpoint is about to fill.
    fn distilling(
        &mut self,
        encoder: DenseNet,
        recipe: Recipe,
        init: Option<&mut Init>,
        config: &TrainConfig,
        device: &Device,
    ) -> Result<Box<Distilling>> {
        let Some(settings) = &config.distill else {
            return Err(Error::usage("distill: the stage needs [distill]"));
        };
        let pictures = Picture::of_dataset(&self.dataset)?;
        let plan = Plan::new(config, encoder.config(), device).with_encoder();
        plan.with_data(memory::Data {
            images: pictures.len(),
            size: recipe.size() as usize,
            words: 0,
        })
        .check()?;
        let mut distillation = Distillation::open(settings, pictures, recipe)?;
        distillation.to(device)?;
        self.notices.extend(distillation.summary());
        let features = encoder.config().features();
        let heads = match init {
            Some(init) => distillation.heads(features, init),
            None => distillation.heads(features, &mut Init::blank()),
        };
        let distillation = Arc::new(distillation);
        let ahead = matches!(device, Device::Gpu(_));
        Ok(Box::new(Distilling {
            encoder,
            heads,
            batches: Ahead::new(distillation.clone(), ahead)?,
            data: distillation,
            recipe,
            training: Default::default(),
        }))
    }
}

/// The optimizer of the tracked parameters.
fn optimizer(config: &TrainConfig, work: &mut Work) -> Optimizer {
    let own: &OptimizerConfig = &config.optimizer;
    let mut optimizer = Optimizer::new(own, work);
    // Parameters that move alike are moved together.
    if let Some(pace) = encoder_pace(config).filter(|pace| *pace != Pace::of(own)) {
        optimizer.set_pace("encoder.", pace);
    }
    optimizer
}

/// The captioner in the file at `path`; the configuration takes over its decoder's sizes.
fn whole_model(path: &Path, config: &mut TrainConfig) -> Result<Captioner> {
    let mut captioner = Captioner::load(path)?;
    if config.encoder.new.is_some() {
        return Err(Error::usage(format!(
            "--init {} brings an encoder, and encoder.new asks for another; take one of them",
            error::name(&path)
        )));
    }
    config.decoder = config.decoder.adopted(captioner.decoder.config())?;
    captioner.decoder = captioner.decoder.with_dropout(config.decoder.dropout)?;
    // The earlier stages' configurations stay readable in the model.
    let before = std::mem::take(&mut captioner.training);
    if !before.is_empty() {
        let before = serde_json::Value::Object(before.into_iter().collect());
        captioner.training.insert("before".into(), before);
    }
    captioner.metrics.clear();
    // It judges the captions of the model as it was.
    captioner.recognition = None;
    Ok(captioner)
}

/// A captioner with the encoder of `source` and a new decoder for the words of the training captions.
fn new_captioner(
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
struct Start {
    encoder: DenseNet,
    recipe: Recipe,
    /// Where its weights come from, where they were converted.
    origin: Option<Origin>,
    /// The classes that it recognises, where it does.
    tags: Option<Tags>,
}

/// The encoder of a new run, with what its file says of it.
fn encoder(source: Source, config: &TrainConfig, init: &mut Init) -> Result<Start> {
    match (&config.encoder.new, source) {
        (Some(_), Source::Encoder(path) | Source::Model(path)) => Err(Error::usage(format!(
            "--encoder {} and a new encoder in the configuration: take one of them",
            error::name(&path)
        ))),
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
        (None, Source::Default) => {
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
