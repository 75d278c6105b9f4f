//! The stage `distill`: an encoder, the layers that predict the teachers' targets, and the views.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::batches::mix;
use super::config::TrainConfig;
use super::dev::Evaluation;
use super::distill::heads::LOSSES;
use super::distill::{Ahead, Batch, Distillation, Heads};
use super::step::{Position, Terms, purpose};
use crate::data::Recipe;
use crate::data::weights::{NumberFormat, WeightFile};
use crate::error::{Error, Result};
use crate::model::file::{self, FORMAT};
use crate::model::{DenseNet, Description, Kind};
use crate::nn::{Mode, Module, Role};
use crate::tensor::Tensor;

/// Key of the note in a checkpoint that identifies its target files.
const TARGETS: &str = "targets";

/// The networks and the data of the stage.
pub(super) struct Distilling {
    pub(super) encoder: DenseNet,
    pub(super) heads: Heads,
    pub(super) data: Arc<Distillation>,
    /// Batches of `data`, prefetched if the steps run on a GPU.
    pub(super) batches: Ahead,
    pub(super) recipe: Recipe,
    /// Notes for the model file about the origin of its weights.
    pub(super) training: BTreeMap<String, Value>,
}

impl Distilling {
    /// Computes the loss of a step.
    pub(super) fn loss(&mut self, config: &TrainConfig, position: Position) -> Result<Terms> {
        let (batch, map) = self.image(config, position.step)?;
        let losses = self.data.loss(&self.heads, &map, &batch)?;
        let mut parts = Vec::new();
        for part in losses.parts {
            for (name, value) in LOSSES.into_iter().zip(part.losses) {
                if let Some(value) = value {
                    parts.push((format!("{} {name}", part.teacher), value));
                }
            }
        }
        Ok(Terms {
            total: losses.total,
            parts,
            images: batch.views.len(),
        })
    }

    /// Returns the views of a step, and the encoder's last maps of them `[N, h, w, F]`.
    pub(super) fn image(&mut self, config: &TrainConfig, step: u64) -> Result<(Batch, Tensor)> {
        let batch = self.batches.batch(config.seed, step, config.batch)?;
        let mode = Mode::Training {
            seed: mix(config.seed, step, purpose::ENCODER),
        };
        let map = self.encoder.spatial(&batch.images, mode)?;
        Ok((batch, map))
    }

    /// Computes the losses over the held-out views.
    pub(super) fn evaluate(&self, config: &TrainConfig) -> Result<Evaluation> {
        let mut encode = |images: &Tensor| self.encoder.spatial(images, Mode::Inference);
        let found = self.data.validate(&self.heads, config.batch, &mut encode)?;
        let Some(found) = found else {
            return Ok(Evaluation::default());
        };
        let mut parts = Vec::new();
        for (teacher, losses) in found.parts {
            for (name, value) in LOSSES.into_iter().zip(losses) {
                if let Some(value) = value {
                    parts.push((format!("{teacher} {name}"), value));
                }
            }
        }
        Ok(Evaluation {
            loss: found.total as f32,
            images: found.views,
            parts,
            ..Evaluation::default()
        })
    }

    /// Returns the description of a checkpoint. It identifies the target files, because a resumed run must use the same
    /// ones.
    pub(super) fn description(&self) -> Description {
        let mut training = self.training.clone();
        training.insert(TARGETS.into(), self.data.digest().into());
        Description {
            format: FORMAT,
            kind: Kind::Checkpoint,
            encoder: self.encoder.config().clone(),
            decoder: None,
            vocabulary: None,
            recipe: self.recipe,
            tags: None,
            recognition: None,
            origin: None,
            training,
            metrics: BTreeMap::new(),
        }
    }

    /// Refuses a checkpoint of a run on other target files.
    pub(super) fn check_targets(&self, file: &WeightFile, description: &Description) -> Result<()> {
        let began_with = description.training.get(TARGETS).and_then(Value::as_str);
        if began_with == Some(&self.data.digest()) {
            return Ok(());
        }
        Err(Error::file(
            file.path(),
            "was taken of a run on other target files; bring those back, go on with those of now by --data-changed, or start \
             a new run with --encoder",
        ))
    }

    /// Writes the encoder to `path`, with the learnt classes as tags.
    pub(super) fn save(&mut self, path: &Path, format: NumberFormat) -> Result<()> {
        let mut tags = self.data.tags(&self.heads)?;
        let description = Description {
            kind: Kind::Encoder,
            tags: tags.as_ref().map(|tags| tags.names().to_vec()),
            ..self.description()
        };
        let mut tensors = file::module_tensors("", &mut self.encoder);
        if let Some(tags) = &mut tags {
            tensors.extend(file::module_tensors("tags.", tags));
        }
        file::write(path, &description, &tensors, format)
    }
}

impl Module for Distilling {
    fn visit(&mut self, prefix: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        self.encoder.visit(&format!("{prefix}encoder."), f);
        self.heads.visit(&format!("{prefix}distill."), f);
    }
}
