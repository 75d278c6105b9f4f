//! The pictures and captions of a run, and what they make of it: samples, a vocabulary, targets.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::source::Source;
use super::unusable::all_of;
use crate::data::dataset::Topic;
use crate::data::{Dataset, Example, Given, Recipe, Split};
use crate::error::{self, Error, Result};
use crate::model::{Captioner, DenseNet};
use crate::nn::Init;
use crate::tensor::Device;
use crate::train::batches::Samples;
use crate::train::captions::Captions;
use crate::train::config::{EncoderTraining, Stage, TrainConfig};
use crate::train::dev::Dev;
use crate::train::distill::{Ahead, Distillation, Picture};
use crate::train::distilling::Distilling;
use crate::train::memory::{self, Plan};
use crate::train::self_critical::Rewards;

/// The dataset of a run, and sentences about it for the user.
pub(super) struct Data {
    pub(super) dataset: Dataset,
    pub(super) notices: Vec<String>,
}

impl Data {
    pub(super) fn open(given: &Given) -> Result<Self> {
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
    pub(super) fn captions(
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
    pub(super) fn whole_model(
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
    pub(super) fn add_words(
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
    pub(super) fn dev_examples(&mut self, config: &TrainConfig) -> Result<Option<Vec<Example>>> {
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
    pub(super) fn distilling(
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
