//! Everything that a run needs to go on, in one file.
//!
//! A checkpoint is a model file with more tensors: the optimizer's moments, the distillation layer where there
//! is one. Its description holds the configuration and the number of steps taken. Since whatever is random is
//! drawn from the seed and the step's number, a resumed run writes the same bytes as one that never stopped.

use std::path::{Path, PathBuf};

use super::config::TrainConfig;
use crate::data::weights::{Precision, WeightFile};
use crate::error::{Error, Result};
use crate::model::{Description, Kind, file};
use crate::tensor::Tensor;

/// Where the checkpoint of the model at `out` is: `a.checkpoint.safetensors` beside `a.safetensors`.
pub fn path_beside(out: &Path) -> PathBuf {
    with_suffix(out, "checkpoint")
}

/// Where the features for the model at `out` are kept: `a.features.safetensors`.
pub fn features_beside(out: &Path) -> PathBuf {
    with_suffix(out, "features")
}

fn with_suffix(out: &Path, word: &str) -> PathBuf {
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(".safetensors").unwrap_or(&name);
    out.with_file_name(format!("{stem}.{word}.safetensors"))
}

/// Writes a checkpoint, atomically.
///
/// # Errors
/// Where it cannot be written; the previous one is then still there.
pub fn write(
    path: &Path,
    mut description: Description,
    config: &TrainConfig,
    steps: u64,
    tensors: &[(String, Tensor)],
) -> Result<()> {
    description.kind = Kind::Checkpoint;
    let config = serde_json::to_value(config).map_err(|e| {
        Error::file(
            path,
            format_args!("the configuration cannot be stored: {e}"),
        )
    })?;
    description.training.insert("config".into(), config);
    description.training.insert("steps".into(), steps.into());
    file::write(path, &description, tensors, Precision::F32)
}

/// A checkpoint that was read.
pub struct Checkpoint {
    /// The file, with the tensors in it.
    pub file: WeightFile,
    /// What it says of itself.
    pub description: Description,
    /// The configuration of the run.
    pub config: TrainConfig,
    /// Steps taken.
    pub steps: u64,
}

impl Checkpoint {
    /// The checkpoint at `path`.
    ///
    /// # Errors
    /// Where it is none.
    pub fn open(path: &Path) -> Result<Self> {
        let file = WeightFile::open(path)?;
        let refuse = |what: &str| Error::file(path, what);
        let description = Description::read(&file)?
            .filter(|d| d.kind == Kind::Checkpoint)
            .ok_or_else(|| {
                refuse("is no checkpoint; `--resume` takes the `.checkpoint.safetensors` of a run")
            })?;
        let steps = description
            .training
            .get("steps")
            .and_then(serde_json::Value::as_u64);
        let config = description
            .training
            .get("config")
            .cloned()
            .unwrap_or_default();
        let config: TrainConfig = serde_json::from_value(config).map_err(|e| {
            Error::file(path, format_args!("its configuration makes no sense: {e}"))
        })?;
        config.check().map_err(|e| Error::file(path, e))?;
        let steps = steps.ok_or_else(|| refuse("does not say how many steps it has taken"))?;
        Ok(Checkpoint {
            file,
            description,
            config,
            steps,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checkpoint_lies_beside_the_model() {
        assert_eq!(
            path_beside(Path::new("x/a.safetensors")),
            Path::new("x/a.checkpoint.safetensors")
        );
        assert_eq!(
            features_beside(Path::new("model")),
            Path::new("model.features.safetensors")
        );
    }
}
