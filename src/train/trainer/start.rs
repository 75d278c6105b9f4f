//! The beginning of a run: new, from an encoder, from a whole model, or from a checkpoint.

use std::path::Path;

use super::data::Resumed;
use super::dataset::Data;
use super::save::DEV;
use super::source::{Source, encoder, new_captioner};
use super::{Trainer, changes};
use crate::data::Given;
use crate::error::{Error, Result};
use crate::model::{Captioner, DenseNet, file};
use crate::nn::{Init, Module};
use crate::tensor::Device;
use crate::train::average::Average;
use crate::train::checkpoint::{Checkpoint, PROGRESS};
use crate::train::config::{Change, OptimizerConfig, Stage, TrainConfig};
use crate::train::memory::Plan;
use crate::train::optimizer::{Optimizer, Pace};
use crate::train::progress::Progress;
use crate::train::summary::Summary;
use crate::train::work::{Work, encoder_pace};

/// The note of a model's training that says which weights the run started from.
pub(super) const SOURCE: &str = "source";

/// The note of a model's training that tells runs apart.
pub(super) const RUN: &str = "run";

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
