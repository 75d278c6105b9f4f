//! The files of a run: the checkpoint, the best model, the last model.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::Trainer;
use super::elsewhere::write_or_elsewhere;
use crate::data::words;
use crate::error::{self, Error, Result};
use crate::model::file;
use crate::train::checkpoint;
use crate::train::config::Keep;
use crate::train::dev::Evaluation;
use crate::train::events::RunOptions;

/// Key of the note in a model's description that holds its scores on the dev split.
pub(super) const DEV: &str = "dev";

impl Trainer {
    /// Writes the checkpoint and returns its path.
    pub(super) fn save_checkpoint(&mut self, out: &Path) -> Result<PathBuf> {
        let path = checkpoint::path_beside(out);
        let mut tensors = file::module_tensors("", &mut self.work);
        tensors.extend(self.optimizer.tensors()?);
        tensors.extend(self.average.iter().flat_map(|a| a.tensors()));
        let description = self.work.description();
        let state = checkpoint::State {
            config: &self.config,
            steps: self.optimizer.steps(),
            progress: self.progress,
            data: self.data.as_ref(),
        };
        write_or_elsewhere(&path, &mut |path| {
            checkpoint::write(path, description.clone(), &state, &tensors)
        })?;
        Ok(path)
    }

    /// Saves the model with the best dev score so far: as the output, or beside it if the last model is kept there.
    pub(super) fn save_best(&mut self, out: &Path, step: u64) -> Result<()> {
        match self.config.dev.keep {
            Keep::Best => self.save_model(out, step),
            Keep::Last => self.save_model(&checkpoint::best_beside(out), step),
        }
    }

    /// Saves the model after the last step: beside the output if the best model is kept there, otherwise as the output.
    pub(super) fn finish(&mut self, out: &Path) -> Result<()> {
        let step = self.optimizer.steps();
        let keeps_best = self.config.dev.keep == Keep::Best && self.progress.best.is_some();
        let path = match keeps_best {
            true => checkpoint::last_beside(out),
            false => out.to_path_buf(),
        };
        self.with_averages(|trainer| trainer.save_model(&path, step))
    }

    /// Records the scores of an evaluation, for the model that is saved after the same number of steps.
    pub(super) fn note_scores(&mut self, step: u64, evaluation: &Evaluation) {
        let Evaluation {
            loss,
            cider,
            bleu4,
            images,
            ..
        } = evaluation;
        let note =
            json!({ "step": step, "loss": loss, "cider": cider, "bleu4": bleu4, "images": images });
        self.work.training().insert(DEV.into(), note);
    }

    fn save_model(&mut self, out: &Path, step: u64) -> Result<()> {
        let config = self.config.without_paths();
        let config = serde_json::to_value(&config).map_err(|e| {
            Error::file(
                out,
                format_args!("the configuration cannot be stored: {}", words::json(&e)),
            )
            .because(e)
        })?;
        let images = self.work.images();
        let training = self.work.training();
        training.insert("config".into(), config);
        training.insert("steps".into(), step.into());
        if training.get(DEV).is_some_and(|note| note["step"] != step) {
            training.remove(DEV);
        }
        training.insert("dataset".into(), self.dataset.clone().into());
        training.insert("images".into(), images.into());
        training.insert(
            "program".into(),
            concat!("glimpse ", env!("CARGO_PKG_VERSION")).into(),
        );
        let Self { work, config, .. } = self;
        write_or_elsewhere(out, &mut |path| work.save(path, config))
    }

    /// Saves what can be saved after a GPU or a file failed during a run, and adds to the error how to resume it.
    pub(super) fn rescue(&mut self, error: Error, options: &RunOptions) -> Error {
        let (device, what, source) = match error {
            Error::Gpu {
                device,
                what,
                source,
            } => (device, what, source),
            Error::File { path, what, source } if self.optimizer.steps() > 0 => {
                let with_source = |what: String| Error::File { path, what, source };
                let step = self.optimizer.steps();
                return match self.save_checkpoint(&options.out) {
                    Ok(checkpoint) => {
                        let checkpoint = error::name(&checkpoint).to_string();
                        // A resumed run with --skip-bad leaves the unreadable picture out, so its data differs from the
                        // checkpoint's.
                        let also = match what.contains("--skip-bad") {
                            true => " (and --data-changed, where --skip-bad leaves pictures out)",
                            false => "",
                        };
                        let saved = format!(
                            "saved after step {step}{also}, go on with --resume {checkpoint}"
                        );
                        with_source(format!("{what}; {saved}"))
                    }
                    Err(e) => with_source(format!("{what}; {e}")),
                };
            }
            other => return other,
        };
        let step = self.optimizer.steps();
        let path = checkpoint::path_beside(&options.out);
        let what = match self.save_checkpoint(&options.out) {
            Ok(path) => format!(
                "{what}; saved after step {step}, go on with --resume {}",
                error::name(&path)
            ),
            // If the GPU can no longer be read, the last checkpoint remains.
            Err(_) if path.exists() => {
                format!(
                    "{what}; the last checkpoint is whole, go on with --resume {}",
                    error::name(&path)
                )
            }
            Err(_) => format!("{what}; no checkpoint had been written after {step} steps"),
        };
        Error::Gpu {
            device,
            what,
            source,
        }
    }
}
