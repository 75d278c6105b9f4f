//! The beginning of a run: new, from an encoder, from a whole model, or from a checkpoint.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::data::Resumed;
use super::save::DEV;
use super::unusable::all_of;
use super::{Trainer, changes};
use crate::data::dataset::Topic;
use crate::data::{Dataset, Example, Given, Recipe, Split, Vocabulary};
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
use crate::train::summary::Summary;
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
    /// The encoder, decoder and vocabulary of the model that is part of the program.
    Bundled,
}

impl Source<'_> {
    /// As a model's notes call it: where files lay on this machine is not part of a model.
    fn file_name(&self) -> String {
        match self {
            Source::Encoder(path) | Source::Model(path) => {
                let name = path.file_name().unwrap_or_default();
                name.to_string_lossy().into_owned()
            }
            other => other.name(),
        }
    }

    /// As messages call it.
    fn name(&self) -> String {
        match self {
            Source::Default => "default".into(),
            Source::Encoder(path) | Source::Model(path) => error::name(path).to_string(),
            Source::Bundled => "bundled".into(),
        }
    }
}

/// The note of a model's training that says which weights the run started from.
pub(super) const SOURCE: &str = "source";

/// The note of a model's training that tells runs apart.
pub(super) const RUN: &str = "run";

/// The dataset of a run, and sentences about it for the user.
struct Data {
    dataset: Dataset,
    notices: Vec<String>,
}

impl Trainer {
    /// A new run on the dataset `data` (its folder, or all that is [`Given`] of it), computed on `device`.
    ///
    /// # Errors
    /// Where the data, the source or the configuration do not fit.
    pub fn new(
        data: impl Into<Given>,
        source: Source,
        mut config: TrainConfig,
        device: &Device,
    ) -> Result<Self> {
        config.check()?;
        let mut data = Data::open(&data.into())?;
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
            (_, Source::Model(_) | Source::Bundled) => {
                let captioner = data.whole_model(source, &mut config, &mut init)?;
                Work::Captions(data.captions(captioner, &config, device)?)
            }
            _ => {
                let captioner = new_captioner(&data.dataset, source, &config, &mut init, device)?;
                Work::Captions(data.captions(captioner, &config, device)?)
            }
        };
        config.check_decoder()?;
        let mut trainer = Self::assemble(data, config, work, device)?;
        trainer.starts_trained = matches!(source, Source::Model(_) | Source::Bundled)
            && trainer.config.stage != Stage::Distill;
        let note = serde_json::json!({
            "file": source.file_name(), "trained": trainer.starts_trained,
        });
        trainer.work.training().insert(SOURCE.into(), note);
        trainer.name_run();
        Ok(trainer)
    }

    /// The run that `checkpoint` was taken of, on the same data; whether it is the same, [`Trainer::run`] finds out.
    ///
    /// # Errors
    /// Where it is no checkpoint or does not fit the data.
    pub fn resume(data: impl Into<Given>, checkpoint: &Path, device: &Device) -> Result<Self> {
        Self::resume_with(data, checkpoint, &[], device)
    }

    /// As [`Trainer::resume`], with these settings from now on. The model and later checkpoints say what was changed, and
    /// after which step.
    ///
    /// # Errors
    /// Those of [`Trainer::resume`]; and where a setting cannot be changed any more, or makes no sense for this run.
    pub fn resume_with(
        data: impl Into<Given>,
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
        let mut data = Data::open(&data.into())?;
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
        let mut trainer = Self::assemble(data, config.clone(), work, device)?;
        trainer.optimizer.restore(&file, steps)?;
        if let Some(average) = &mut trainer.average {
            average.restore(&file)?;
        }
        trainer.progress = progress;
        // How it came about is kept; a captioner has it already.
        let notes = trainer.work.training();
        for key in [SOURCE, RUN, DEV] {
            if let Some(note) = description.training.get(key) {
                notes.insert(key.into(), note.clone());
            }
        }
        trainer.starts_trained = notes.get(SOURCE).is_some_and(|s| s["trained"] == true);
        if !trainer.work.training().contains_key(RUN) {
            // An older version did not name its runs; its settings were never changed on the way.
            let now = std::mem::replace(&mut trainer.config, before.clone());
            trainer.name_run();
            trainer.config = now;
        }
        trainer.adopt_changes(history, &before, steps)?;
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
        let summary = match &work {
            Work::Captions(work) => Some(Summary::of(
                &data.dataset,
                &work.captioner.vocabulary,
                &config,
            )),
            Work::Distilling(_) => None,
        };
        Ok(Trainer {
            summary,
            starts_trained: false,
            alike: None,
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
    fn open(given: &Given) -> Result<Self> {
        let dataset = Dataset::read_for(given, &[Split::Train, Split::Dev])?;
        Ok(Data {
            // By which rule the splits were made, the summary says.
            notices: dataset
                .remarks()
                .iter()
                .filter(|remark| remark.topic != Topic::Rule)
                .map(|remark| remark.text.clone())
                .collect(),
            dataset,
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
        let examples = self.dataset.split(Split::Train)?;
        let dev_examples = self.dev_examples(config)?;
        let used: &[Split] = match dev_examples {
            Some(_) => &[Split::Train, Split::Dev],
            None => &[Split::Train],
        };
        self.dataset.glance(used)?;
        let all = examples.iter().chain(dev_examples.iter().flatten());
        let pictures: Vec<PathBuf> = all.map(|example| example.image.clone()).collect();
        let unreadable = |error| {
            let pictures: Vec<&Path> = pictures.iter().map(PathBuf::as_path).collect();
            all_of(error, &pictures)
        };
        let train = samples(examples, cache).map_err(unreadable)?;
        let plan = Plan::new(config, captioner.encoder.config(), device).with_encoder();
        let plan = plan.with_decoder(captioner.decoder.config().clone());
        plan.with_data(memory::Data {
            images: train.len(),
            size: captioner.recipe.size() as usize,
            words: train.longest(),
        })
        .check()?;
        let dev = match dev_examples {
            Some(examples) => Some(Dev {
                samples: samples(examples, cache / 4).map_err(unreadable)?,
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

    /// The captioner of `source`, a whole model, which the new captions' words are added to; the configuration takes over
    /// its decoder's sizes.
    fn whole_model(
        &mut self,
        source: Source,
        config: &mut TrainConfig,
        init: &mut Init,
    ) -> Result<Captioner> {
        let mut captioner = match source {
            Source::Model(path) => Captioner::load(path)?,
            _ => Captioner::bundled()?,
        };
        let name = source.name();
        if config.encoder.new.is_some() {
            return Err(Error::usage(format!(
                "--init {name} brings an encoder, and encoder.new asks for another; take one of them"
            )));
        }
        config.decoder = config.decoder.adopted(captioner.decoder.config())?;
        captioner.decoder = captioner.decoder.with_dropout(config.decoder.dropout)?;
        // Self-critical training rewards words that the decoder draws; it would never draw one that it has not learnt.
        if config.stage == Stage::CrossEntropy {
            self.add_words(&mut captioner, config.min_count, init)?;
        }
        // The earlier stages' configurations stay readable in the model.
        let before = std::mem::take(&mut captioner.training);
        if !before.is_empty() {
            let before = serde_json::Value::Object(before.into_iter().collect());
            captioner.training.insert("before".into(), before);
        }
        captioner.metrics.clear();
        if captioner.recognition.take().is_some() {
            self.notices.push(format!(
                "the confidence of {name} judges captions of {name}, so the new model has none; `glimpse calibrate` \
                 makes one"
            ));
        }
        if config.encoder.train != EncoderTraining::None && captioner.tags.take().is_some() {
            self.notices.push(format!(
                "the tags of {name} read the features of its encoder, which is trained here, so the new model has none"
            ));
        }
        Ok(captioner)
    }

    /// Adds the words of the training captions to what the captioner can say.
    fn add_words(
        &mut self,
        captioner: &mut Captioner,
        min_count: u64,
        init: &mut Init,
    ) -> Result<()> {
        let examples = self.dataset.split(Split::Train)?;
        let captions = examples.iter().flat_map(|e| &e.captions);
        let known = captioner.vocabulary.len();
        captioner.vocabulary = captioner.vocabulary.extended(captions, min_count)?;
        let words = captioner.vocabulary.len();
        captioner.decoder = captioner.decoder.clone().with_words(words, init)?;
        if words > known {
            self.notices.push(format!(
                "{} new words are added to the {known} that the model knows",
                words - known
            ));
        }
        Ok(())
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
