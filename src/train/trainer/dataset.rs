//! The data set of a run, and its preparation: samples, vocabulary, targets.

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

/// The data set of a run, and notices about it for the user.
pub(super) struct Data {
    pub(super) dataset: Dataset,
    pub(super) notices: Vec<String>,
}

impl Data {
    pub(super) fn open(given: &Given) -> Result<Self> {
        let dataset = Dataset::read_for(given, &[Split::Train, Split::Dev])?;
        Ok(Data {
            // The summary names the rule that made the splits.
            notices: dataset
                .remarks()
                .iter()
                .filter(|remark| remark.topic != Topic::Rule)
                .map(|remark| remark.text.clone())
                .collect(),
            dataset,
        })
    }

    /// Prepares the networks and the data of the caption stages.
    pub(super) fn captions(
        &mut self,
        captioner: Captioner,
        config: &TrainConfig,
        device: &Device,
    ) -> Result<Box<Captions>> {
        // A frozen encoder sees each image once, to compute its features.
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

    /// Loads the captioner of `source`, a whole model, and adds the words of the new captions. The configuration adopts
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
        // Self-critical training rewards words that the decoder samples, and it would never sample a word that it has
        // not learnt.
        if config.stage == Stage::CrossEntropy {
            self.add_words(&mut captioner, config.min_count, init)?;
        }
        // The configurations of earlier stages remain in the model's description.
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

    /// Adds the words of the training captions to the captioner's vocabulary.
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

    /// Returns the dev split, if the run evaluates on one. A data set without one can be trained on; the user is
    /// notified that there are no scores. A dev split with errors is an error.
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

    /// Prepares the networks and the data of the stage `distill`. The layers that predict the targets are initialised
    /// from `init`, or with zeros if a checkpoint will fill them.
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
        let size = settings.size.unwrap_or(recipe.size());
        if encoder.config().map_side(size as usize) == 0 {
            return Err(Error::usage(format_args!(
                "distill: {size} pixels are too few for an encoder of {} blocks; set a larger distill.size",
                encoder.config().blocks.len()
            )));
        }
        let pictures = Picture::of_dataset(&self.dataset)?;
        let plan = Plan::new(config, encoder.config(), device).with_encoder();
        plan.with_data(memory::Data {
            images: pictures.len(),
            size: size as usize,
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
