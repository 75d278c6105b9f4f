//! The check that protects files of other runs, and files of other programs, from being overwritten.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Trainer;
use super::start::{RUN, SOURCE};
use crate::data::weights::WeightFile;
use crate::data::{Contents, hex};
use crate::error::{self, Error, Result};
use crate::model::{Description, Kind};
use crate::train::checkpoint;
use crate::train::config::TrainConfig;
use crate::train::record;

/// Error text for a file that no run has written.
const FOREIGN: &str = "holds something that `glimpse train` has not written";

impl Trainer {
    /// Names the run by a digest of its initial settings, its source and its data set. The name is stored in its files,
    /// so they are recognised even after settings were changed on resumption. The same command gives the same name,
    /// because it writes the same files.
    pub(super) fn name_run(&mut self) {
        let (dataset, images) = (self.dataset.clone(), self.work.images());
        let config = self.config.without_paths().value();
        let notes = self.work.training();
        let source = notes.get(SOURCE).cloned();
        let begins =
            json!({ "config": config, "source": source, "dataset": dataset, "images": images });
        let digest = Sha256::digest(begins.to_string().as_bytes());
        notes.insert(RUN.into(), hex(&digest[..8]).into());
    }

    /// Returns the name of the run.
    pub(super) fn run_name(&self) -> Option<&str> {
        self.work.notes().get(RUN)?.as_str()
    }

    /// Refuses to overwrite files of other runs: weights of other settings, sources or data, or files that no run has
    /// written. The same command may overwrite its earlier files, because it writes the same again.
    ///
    /// # Errors
    /// Fails if a file at `out`, or beside it where this run writes, belongs to another run.
    pub fn check_output(&mut self, out: &Path) -> Result<()> {
        let checkpoint = checkpoint::path_beside(out);
        let beside = [checkpoint::last_beside(out), checkpoint::best_beside(out)];
        let weights = [out, &checkpoint].into_iter();
        for path in weights.chain(beside.iter().map(|path| &**path)) {
            if is_empty(path) || self.goes_on_from(path, &checkpoint) {
                continue;
            }
            if let Some(what) = self.difference(path) {
                return Err(refusal(path, &what, &checkpoint));
            }
        }
        let contents = checkpoint::contents_beside(out);
        let others = [
            (contents.clone(), Contents::is_at(&contents)),
            (record::log_beside(out), record::is_log(out)),
            (record::report_beside(out), record::is_report(out)),
        ];
        for (path, is_own) in others {
            if !is_empty(&path) && !is_own {
                return Err(refusal(&path, FOREIGN, &checkpoint));
            }
        }
        Ok(())
    }

    /// Returns whether `path` is the checkpoint beside the output, and the one that this run is resumed from.
    fn goes_on_from(&self, path: &Path, checkpoint: &Path) -> bool {
        let Some(resumed) = &self.resumed else {
            return false;
        };
        let [a, b] = [path, &resumed.checkpoint].map(|path| path.canonicalize().ok());
        path == checkpoint && a.is_some() && a == b
    }

    /// Returns why the file at `path` does not belong to this run; `None` if it does.
    fn difference(&mut self, path: &Path) -> Option<String> {
        let foreign = || Some(FOREIGN.to_string());
        let Ok(file) = WeightFile::open(path) else {
            return foreign();
        };
        let Ok(Some(description)) = Description::read(&file) else {
            return foreign();
        };
        let what = match description.kind {
            Kind::Checkpoint => "is the checkpoint of another run",
            Kind::Encoder | Kind::Captioner => "is the model of another run",
        };
        let training = &description.training;
        let config = training.get("config").cloned();
        let Some(Ok(config)) = config.map(serde_json::from_value::<TrainConfig>) else {
            return foreign();
        };
        let theirs = training.get(RUN).and_then(Value::as_str);
        if theirs.is_some() && theirs == self.run_name() {
            return None;
        }
        if config.without_paths() != self.config.without_paths() {
            return Some(format!("{what}, with other settings"));
        }
        let dataset = self.dataset.clone();
        let images = self.work.images();
        let own = self.work.training();
        let source = own.get(SOURCE);
        let says = |key: &str| training.get(key);
        let other = |key: &str, ours: Value| says(key).is_some_and(|x| *x != ours);
        if source.is_some() && says(SOURCE).is_some() && says(SOURCE) != source {
            return Some(format!("{what}, from other weights"));
        }
        // The data of a resumed run is compared in detail when it begins.
        let is_new = self.resumed.is_none();
        if is_new && (other("dataset", dataset.into()) || other("images", images.into())) {
            return Some(format!("{what}, on other data"));
        }
        // Two runs that began with different settings and were changed to the same ones.
        theirs.map(|_| what.to_string())
    }
}

/// Returns whether overwriting the file at `path` loses nothing.
fn is_empty(path: &Path) -> bool {
    !fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() > 0)
}

fn refusal(path: &Path, what: &str, checkpoint: &Path) -> Error {
    let how = match checkpoint.exists() && what != FOREIGN {
        true => format!(
            "go on with that run by --resume {}, ",
            error::name(&checkpoint)
        ),
        false => String::new(),
    };
    Error::file(
        path,
        format_args!("{what}; {how}give --out another name, or overwrite it with --force"),
    )
}
