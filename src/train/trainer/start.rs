//! The start of a run: new, from an encoder, from a whole model, or from a checkpoint.

use std::path::Path;

use super::data::Resumed;
use super::dataset::Data;
use super::save::DEV;
use super::source::{Source, encoder, new_captioner};
use super::{Trainer, changes};
use crate::cpu;
use crate::data::Given;
use crate::error::{Error, Result};
use crate::model::{Captioner, DenseNet, file};
use crate::nn::{Init, Module};
use crate::tensor::Device;
use crate::train::average::Average;
use crate::train::checkpoint::{Checkpoint, PROGRESS};
use crate::train::config::{Change, OptimizerConfig, Stage, TrainConfig};
use crate::train::memory::Plan;
use crate::train::optimizer::{GroupSettings, Optimizer};
use crate::train::progress::Progress;
use crate::train::summary::Summary;
use crate::train::work::{Work, encoder_group};

/// Key of the note in a model's description that names the weights the run started from.
pub(super) const SOURCE: &str = "source";

/// Key of the note in a model's description that holds the name of the run.
pub(super) const RUN: &str = "run";

impl Trainer {
    /// Creates a new run on the dataset `data` (its folder, or a [`Given`] with options), computed on `device`.
    ///
    /// # Errors
    /// Fails if the data, the source or the configuration do not fit.
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

    /// Resumes the run of `checkpoint` on the same data. [`Trainer::run`] checks that the data is the same.
    ///
    /// # Errors
    /// Fails if the file is not a checkpoint or does not fit the data.
    pub fn resume(data: impl Into<Given>, checkpoint: &Path, device: &Device) -> Result<Self> {
        Self::resume_with(data, checkpoint, &[], device)
    }

    /// Resumes a run like [`Trainer::resume`], with changed settings. The model and later checkpoints record the
    /// changes and the step after which they were made.
    ///
    /// # Errors
    /// The errors of [`Trainer::resume`]; also fails if a setting can no longer be changed, or makes no sense for this run.
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
                // This note belongs to checkpoints only; a model does not have it.
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
        // The notes about the origin are kept; a captioner already has them.
        let notes = trainer.work.training();
        for key in [SOURCE, RUN, DEV] {
            if let Some(note) = description.training.get(key) {
                notes.insert(key.into(), note.clone());
            }
        }
        trainer.starts_trained = notes.get(SOURCE).is_some_and(|s| s["trained"] == true);
        if !trainer.work.training().contains_key(RUN) {
            // Older versions did not name runs, and could not change settings on resumption.
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
        if matches!(device, Device::Cpu) {
            cpu::memory::allow_training();
        }
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

/// Creates the optimizer of the tracked parameters.
fn optimizer(config: &TrainConfig, work: &mut Work) -> Optimizer {
    let own: &OptimizerConfig = &config.optimizer;
    let mut optimizer = Optimizer::new(own, work);
    // Parameters with the same settings form one group, which is updated together.
    if let Some(settings) =
        encoder_group(config).filter(|settings| *settings != GroupSettings::of(own))
    {
        optimizer.set_group("encoder.", settings);
    }
    optimizer
}
