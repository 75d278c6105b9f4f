//! The checkpoint: one file with everything that a run needs to continue.
//!
//! A checkpoint is a model file with additional tensors: the optimizer's moments, the averaged parameters and the
//! distillation layers, where they exist. Its description holds the configuration, the number of steps taken and the
//! best score so far. The metadata entry `glimpse-data` describes the data that the run is trained on ([`Provenance`]).
//! All randomness is drawn from the seed and the step's number, so a resumed run writes the same bytes as an
//! uninterrupted one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::config::TrainConfig;
use super::progress::Progress;
use super::provenance::Provenance;
use crate::data::weights::{NumberFormat, WeightFile};
use crate::data::words;
use crate::error::{Error, Result};
use crate::model::{Description, Kind, file};
use crate::tensor::Tensor;

/// Key of the note in a checkpoint's description that holds the best score so far.
pub const PROGRESS: &str = "progress";

/// Metadata entry that describes the training data.
const DATA: &str = "glimpse-data";

/// Returns the path of the checkpoint for the model at `out`: `a.checkpoint.safetensors` beside `a.safetensors`.
pub fn path_beside(out: &Path) -> PathBuf {
    with_suffix(out, "checkpoint")
}

/// Returns the path of the feature cache for the model at `out`: `a.features.safetensors`.
pub fn features_beside(out: &Path) -> PathBuf {
    with_suffix(out, "features")
}

/// Returns the path of the dev images' feature cache for the model at `out`: `a.dev-features.safetensors`.
pub fn dev_features_beside(out: &Path) -> PathBuf {
    with_suffix(out, "dev-features")
}

/// Returns the path of the last model if the model at `out` is the best one: `a.last.safetensors`.
pub fn last_beside(out: &Path) -> PathBuf {
    with_suffix(out, "last")
}

/// Returns the path of the best model if the model at `out` is the last one: `a.best.safetensors`.
pub fn best_beside(out: &Path) -> PathBuf {
    with_suffix(out, "best")
}

/// Returns the path of the remembered digests of the pictures for the model at `out`: `a.contents.txt`.
pub fn contents_beside(out: &Path) -> PathBuf {
    out.with_file_name(format!("{}.contents.txt", stem(out)))
}

/// Returns the path of the file of this kind for the model at `out`: `a.KIND` beside `a.safetensors`.
pub fn beside(out: &Path, kind: &str) -> PathBuf {
    out.with_file_name(format!("{}.{kind}", stem(out)))
}

/// Returns the model that the checkpoint at `path` belongs to, if the checkpoint has its default name.
pub fn output_of(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let stem = name.strip_suffix(".checkpoint.safetensors")?;
    Some(path.with_file_name(format!("{stem}.safetensors")))
}

/// Returns the files that a run for the model at `out` may write, apart from its log, its report and partial files.
pub fn all_of(out: &Path) -> [PathBuf; 7] {
    [
        out.to_path_buf(),
        path_beside(out),
        last_beside(out),
        best_beside(out),
        features_beside(out),
        dev_features_beside(out),
        contents_beside(out),
    ]
}

/// Returns the lock file for the model at `out`: `.a.lock` beside `a.safetensors`. Outputs that share their other
/// files, as `a` and `a.safetensors` do, share the lock too.
pub fn lock_beside(out: &Path) -> PathBuf {
    out.with_file_name(format!(".{}.lock", stem(out)))
}

fn stem(out: &Path) -> String {
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    name.strip_suffix(".safetensors").unwrap_or(&name).into()
}

fn with_suffix(out: &Path, word: &str) -> PathBuf {
    out.with_file_name(format!("{}.{word}.safetensors", stem(out)))
}

/// The state of a run, apart from its tensors.
pub struct State<'a> {
    /// The configuration.
    pub config: &'a TrainConfig,
    /// Steps taken.
    pub steps: u64,
    /// The best score so far.
    pub progress: Progress,
    /// The training data, if known.
    pub data: Option<&'a Provenance>,
}

/// Writes a checkpoint atomically.
///
/// # Errors
/// Fails if it cannot be written. The previous checkpoint is then kept.
pub fn write(
    path: &Path,
    mut description: Description,
    state: &State,
    tensors: &[(String, Tensor)],
) -> Result<()> {
    description.kind = Kind::Checkpoint;
    let stored = |e: serde_json::Error| {
        Error::file(
            path,
            format_args!("its state cannot be stored: {}", words::json(&e)),
        )
        .because(e)
    };
    let config = serde_json::to_value(state.config).map_err(stored)?;
    let progress = serde_json::to_value(state.progress).map_err(stored)?;
    let training = &mut description.training;
    training.insert("config".into(), config);
    training.insert("steps".into(), state.steps.into());
    training.insert(PROGRESS.into(), progress);
    let mut notes = HashMap::new();
    if let Some(data) = state.data {
        let data = serde_json::to_string(data).map_err(stored)?;
        notes.insert(DATA.to_string(), data);
    }
    file::write_with(path, &description, tensors, NumberFormat::F32, notes)
}

/// A checkpoint read from a file.
pub struct Checkpoint {
    /// The file with its tensors.
    pub file: WeightFile,
    /// Its description.
    pub description: Description,
    /// The configuration of the run.
    pub config: TrainConfig,
    /// Steps taken.
    pub steps: u64,
    /// The best score so far.
    pub progress: Progress,
    /// The training data; `None` in checkpoints of older versions.
    pub data: Option<Provenance>,
}

/// Reads a file's description of its training data, if it has one.
///
/// # Errors
/// Fails if the description cannot be parsed.
pub fn read_data(file: &WeightFile) -> Result<Option<Provenance>> {
    let Some(text) = file.metadata(DATA)? else {
        return Ok(None);
    };
    serde_json::from_str(&text).map(Some).map_err(|e| {
        Error::file(
            file.path(),
            format_args!(
                "what it says of its data makes no sense: {}",
                words::json(&e)
            ),
        )
        .because(e)
    })
}

impl Checkpoint {
    /// Opens the checkpoint at `path`.
    ///
    /// # Errors
    /// Fails if the file cannot be read or is not a checkpoint, or its configuration is out of range.
    pub fn open(path: &Path) -> Result<Self> {
        let file = WeightFile::open(path)?;
        let refuse = |what: &str| Error::file(path, what);
        let description = Description::read(&file)?
            .filter(|d| d.kind == Kind::Checkpoint)
            .ok_or_else(|| {
                refuse(
                    "is no checkpoint; `--resume` takes the `.checkpoint.safetensors` of a run. A new run can begin with a \
                     model's weights by --init",
                )
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
            Error::file(
                path,
                format_args!("its configuration makes no sense: {}", words::json(&e)),
            )
            .because(e)
        })?;
        config.check().map_err(|e| Error::file(path, e))?;
        let progress = description.training.get(PROGRESS).cloned();
        let progress = progress.map_or_else(|| Ok(Progress::default()), serde_json::from_value);
        let progress = progress.map_err(|e| {
            Error::file(
                path,
                format_args!("its best score makes no sense: {}", words::json(&e)),
            )
            .because(e)
        })?;
        let steps = steps.ok_or_else(|| refuse("does not say how many steps it has taken"))?;
        let data = read_data(&file)?;
        Ok(Checkpoint {
            file,
            description,
            config,
            steps,
            progress,
            data,
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
            output_of(Path::new("x/a.checkpoint.safetensors")).unwrap(),
            Path::new("x/a.safetensors")
        );
        assert_eq!(output_of(Path::new("x/a.safetensors")), None);
        assert_eq!(
            features_beside(Path::new("model")),
            Path::new("model.features.safetensors")
        );
    }
}
