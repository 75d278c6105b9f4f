//! An output that is another run's is not overwritten unasked.

use std::path::Path;

use super::Trainer;
use super::start::SOURCE;
use crate::data::weights::WeightFile;
use crate::error::{self, Error, Result};
use crate::model::{Description, Kind};
use crate::train::checkpoint;
use crate::train::config::TrainConfig;

impl Trainer {
    /// Refuses to overwrite weights that are not of this run: a model or checkpoint of other settings, weights or data, or
    /// one that no run has written. The same command may overwrite what it wrote before, because it writes the same again.
    ///
    /// # Errors
    /// Where a file at `out`, or beside it where this run writes, is another run's.
    pub fn check_output(&mut self, out: &Path) -> Result<()> {
        let checkpoint = checkpoint::path_beside(out);
        let beside = [checkpoint::last_beside(out), checkpoint::best_beside(out)];
        let files = [out, &checkpoint].into_iter();
        for path in files.chain(beside.iter().map(|path| &**path)) {
            let is_written = std::fs::metadata(path).is_ok_and(|m| m.len() > 0);
            if !is_written || self.is_resumed_from(path) {
                continue;
            }
            if let Some(what) = self.difference(path) {
                let how = match checkpoint.exists() {
                    true => format!(
                        "go on with that run by --resume {}, ",
                        error::name(&checkpoint)
                    ),
                    false => String::new(),
                };
                return Err(Error::file(
                    path,
                    format_args!(
                        "{what}; {how}give --out another name, or overwrite it with --force"
                    ),
                ));
            }
        }
        Ok(())
    }

    fn is_resumed_from(&self, path: &Path) -> bool {
        let Some(resumed) = &self.resumed else {
            return false;
        };
        let [a, b] = [path, &resumed.checkpoint].map(|path| path.canonicalize().ok());
        a.is_some() && a == b
    }

    /// Why the file at `path` is not of this run, if it is not.
    fn difference(&mut self, path: &Path) -> Option<String> {
        let foreign = || Some("holds weights that `glimpse train` has not written".into());
        // What cannot be read as weights is no other run's.
        let file = WeightFile::open(path).ok()?;
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
        let began = self.began_with.as_ref().unwrap_or(&self.config);
        let ours = [&self.config, began].map(TrainConfig::without_paths);
        if !ours.contains(&config.without_paths()) {
            return Some(format!("{what}, with other settings"));
        }
        let dataset = self.dataset.clone();
        let images = self.work.images();
        let own = self.work.training();
        let source = own.get(SOURCE);
        let says = |key: &str| training.get(key);
        let other = |key: &str, ours: serde_json::Value| says(key).is_some_and(|x| *x != ours);
        if source.is_some() && says(SOURCE).is_some() && says(SOURCE) != source {
            return Some(format!("{what}, from other weights"));
        }
        // Whether a run goes on with its own data is looked at more closely when it begins.
        let is_new = self.resumed.is_none();
        if is_new && (other("dataset", dataset.into()) || other("images", images.into())) {
            return Some(format!("{what}, on other data"));
        }
        None
    }
}
