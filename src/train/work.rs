//! The networks of a run together with their data: one kind for the caption stages, one for distillation. The training
//! loop is the same for both.

use std::path::Path;

use super::captions::Captions;
use super::config::{EncoderTraining, TrainConfig};
use super::dev::Evaluation;
use super::distilling::Distilling;
use super::optimizer::GroupSettings;
use super::provenance::Provenance;
use super::step::{Position, Terms};
use crate::data::Contents;
use crate::error::Result;
use crate::model::{Description, Kind};
use crate::nn::{Module, Role};
use crate::tensor::Tensor;

/// The networks and the data of a run.
pub(super) enum Work {
    /// A captioner, and images with captions.
    Captions(Box<Captions>),
    /// An encoder, and views with their teachers' features and classes.
    Distilling(Box<Distilling>),
}

impl Work {
    /// Returns the number of images, or views of images, in an epoch.
    pub(super) fn images(&self) -> usize {
        match self {
            Work::Captions(work) => work.train.len(),
            Work::Distilling(work) => work.data.len(),
        }
    }

    /// Computes the provenance of the run's data. Pictures whose digests are not in `contents` are read.
    ///
    /// # Errors
    /// Fails if a picture cannot be read.
    pub(super) fn provenance(&mut self, contents: &mut Contents) -> Result<Provenance> {
        match self {
            Work::Captions(work) => {
                work.train.identify(contents)?;
                let mut splits = vec![("train", work.train.items())];
                if let Some(dev) = &mut work.dev {
                    dev.samples.identify(contents)?;
                    splits.push(("dev", dev.samples.items()));
                }
                Ok(Provenance::of(&splits))
            }
            Work::Distilling(work) => Ok(work.data.provenance()),
        }
    }

    /// Returns the number of steps in an epoch.
    pub(super) fn steps_per_epoch(&self, batch: usize) -> u64 {
        match self {
            Work::Captions(work) => work.train.steps_per_epoch(batch),
            Work::Distilling(work) => work.data.steps_per_epoch(batch),
        }
    }

    /// Computes the loss of a step.
    ///
    /// # Errors
    /// Fails if an image cannot be read, or the GPU fails.
    pub(super) fn loss(&mut self, config: &TrainConfig, position: Position) -> Result<Terms> {
        match self {
            Work::Captions(work) => work.loss(config, position),
            Work::Distilling(work) => work.loss(config, position),
        }
    }

    /// Returns the encoder's output for the images of a step, for the search for numbers that are not finite.
    ///
    /// # Errors
    /// Fails if an image cannot be read, or the GPU fails.
    pub(super) fn image(&mut self, config: &TrainConfig, step: u64) -> Result<Tensor> {
        match self {
            Work::Captions(work) => {
                let batch = work.batch(config, step);
                work.image(config, &batch, step)
            }
            Work::Distilling(work) => Ok(work.image(config, step)?.1),
        }
    }

    /// Returns whether there is a dev split or are held-out views to evaluate on.
    pub(super) fn has_dev(&self) -> bool {
        match self {
            Work::Captions(work) => work.dev.is_some(),
            Work::Distilling(work) => work.data.validation_len() > 0,
        }
    }

    /// Evaluates the networks, whose parameters should not be tracked.
    ///
    /// # Errors
    /// Fails if an image cannot be read, or the GPU fails.
    pub(super) fn evaluate(&self, config: &TrainConfig) -> Result<Evaluation> {
        match self {
            Work::Captions(work) => work.evaluate(config),
            Work::Distilling(work) => work.evaluate(config),
        }
    }

    /// Makes the trained parameters leaves of the tape, and no others.
    pub(super) fn track_trained(&mut self, encoder: EncoderTraining) {
        self.track(true);
        let net = match self {
            Work::Captions(work) => &mut work.captioner.encoder,
            Work::Distilling(work) => &mut work.encoder,
        };
        match encoder.trained() {
            None => net.track(false),
            Some(_) => net.track_tuned(),
        }
    }

    /// Sets how training treats the encoder, and tracks what is trained.
    pub(super) fn prepare(&mut self, config: &TrainConfig) {
        let encoder = match self {
            Work::Captions(work) => &mut work.captioner.encoder,
            Work::Distilling(work) => &mut work.encoder,
        };
        encoder.set_tuning(config.encoder.tuning());
        self.track_trained(config.encoder.train);
    }

    /// Returns the description of a checkpoint of the networks.
    pub(super) fn description(&self) -> Description {
        match self {
            Work::Captions(work) => work.captioner.description(Kind::Checkpoint),
            Work::Distilling(work) => work.description(),
        }
    }

    /// Returns the notes of [`Work::training`].
    pub(super) fn notes(&self) -> &std::collections::BTreeMap<String, serde_json::Value> {
        match self {
            Work::Captions(work) => &work.captioner.training,
            Work::Distilling(work) => &work.training,
        }
    }

    /// Returns the notes for the model file about the origin of its weights, for changes.
    pub(super) fn training(
        &mut self,
    ) -> &mut std::collections::BTreeMap<String, serde_json::Value> {
        match self {
            Work::Captions(work) => &mut work.captioner.training,
            Work::Distilling(work) => &mut work.training,
        }
    }

    /// Writes the model to `path`, atomically: a captioner, or an encoder.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub(super) fn save(&mut self, path: &Path, config: &TrainConfig) -> Result<()> {
        match self {
            Work::Captions(work) => work.captioner.save(path, config.output.precision),
            Work::Distilling(work) => work.save(path, config.output.precision),
        }
    }
}

impl Module for Work {
    fn visit(&mut self, prefix: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        match self {
            Work::Captions(work) => work.captioner.visit(prefix, f),
            Work::Distilling(work) => work.visit(prefix, f),
        }
    }
}

/// Returns the learning rate and weight decay of the encoder, if it is trained.
pub(super) fn encoder_group(config: &TrainConfig) -> Option<GroupSettings> {
    let (encoder, others) = (&config.encoder, GroupSettings::of(&config.optimizer));
    (encoder.train != EncoderTraining::None).then(|| GroupSettings {
        lr: encoder.lr.unwrap_or(others.lr),
        weight_decay: encoder.weight_decay.unwrap_or(others.weight_decay),
    })
}
