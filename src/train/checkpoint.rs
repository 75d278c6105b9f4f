//! Everything that a run needs to go on, in one file.
//!
//! A checkpoint is a model file with more tensors: the optimizer's moments, the averaged parameters and the distillation
//! layers where there are any. Its description holds the configuration, the number of steps taken and the best score so
//! far; the metadata entry `glimpse-data` says what data the run is trained on ([`Provenance`]). All randomness is drawn from the seed and the step's number, so a resumed run writes the same bytes as one that
//! never stopped.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::config::TrainConfig;
use super::progress::Progress;
use super::provenance::Provenance;
use crate::data::weights::{Precision, WeightFile};
use crate::data::words;
use crate::error::{Error, Result};
use crate::model::{Description, Kind, file};
use crate::tensor::Tensor;

/// The note of a checkpoint's description that holds the best score so far.
pub const PROGRESS: &str = "progress";

/// The metadata entry that says what data the run is trained on.
const DATA: &str = "glimpse-data";

/// Where the checkpoint of the model at `out` is: `a.checkpoint.safetensors` beside `a.safetensors`.
pub fn path_beside(out: &Path) -> PathBuf {
    with_suffix(out, "checkpoint")
}

/// Where the features for the model at `out` are kept: `a.features.safetensors`.
pub fn features_beside(out: &Path) -> PathBuf {
    with_suffix(out, "features")
}

/// Where the features of the dev images for the model at `out` are kept: `a.dev-features.safetensors`.
pub fn dev_features_beside(out: &Path) -> PathBuf {
    with_suffix(out, "dev-features")
}

/// Where the model after the last step is kept when the model itself is the best one: `a.last.safetensors`.
pub fn last_beside(out: &Path) -> PathBuf {
    with_suffix(out, "last")
}

/// Where the best model is kept when the model itself is the last one: `a.best.safetensors`.
pub fn best_beside(out: &Path) -> PathBuf {
    with_suffix(out, "best")
}

/// Where the digests of the pictures are remembered that the model at `out` is trained on: `a.contents.txt`.
pub fn contents_beside(out: &Path) -> PathBuf {
    out.with_file_name(format!("{}.contents.txt", stem(out)))
}

/// The file of this kind beside the model at `out`: `a.KIND` beside `a.safetensors`.
pub fn beside(out: &Path, kind: &str) -> PathBuf {
    out.with_file_name(format!("{}.{kind}", stem(out)))
}

/// The model that the checkpoint at `path` is beside, where it has the name that it was given.
pub fn output_of(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let stem = name.strip_suffix(".checkpoint.safetensors")?;
    Some(path.with_file_name(format!("{stem}.safetensors")))
}

/// Every file that a run for the model at `out` cannot do without. Its log and its report are not among them.
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

/// The file that a run locks while it writes the model at `out`: `.a.lock` beside `a.safetensors`. Outputs that share
/// their other files, as `a` and `a.safetensors` do, share it too.
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

/// The state of a run, besides its tensors.
pub struct State<'a> {
    /// The configuration.
    pub config: &'a TrainConfig,
    /// Steps taken.
    pub steps: u64,
    /// The best score so far.
    pub progress: Progress,
    /// The data, where it is known.
    pub data: Option<&'a Provenance>,
}

/// Writes a checkpoint, atomically.
///
/// # Errors
/// Where it cannot be written; the previous one is then still there.
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
    file::write_with(path, &description, tensors, Precision::F32, notes)
}

/// A checkpoint that was read.
pub struct Checkpoint {
    /// The file, with the tensors in it.
    pub file: WeightFile,
    /// Its description.
    pub description: Description,
    /// The configuration of the run.
    pub config: TrainConfig,
    /// Steps taken.
    pub steps: u64,
    /// The best score so far.
    pub progress: Progress,
    /// The data that it was trained on; checkpoints of older versions do not say it.
    pub data: Option<Provenance>,
}

/// What a file says of the data that its run is trained on, where it says anything.
///
/// # Errors
/// Where that makes no sense.
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
    })
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
        })?;
        config.check().map_err(|e| Error::file(path, e))?;
        let progress = description.training.get(PROGRESS).cloned();
        let progress = progress.map_or_else(|| Ok(Progress::default()), serde_json::from_value);
        let progress = progress.map_err(|e| {
            Error::file(
                path,
                format_args!("its best score makes no sense: {}", words::json(&e)),
            )
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
