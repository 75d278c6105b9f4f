//! The check whether the data of a resumed run has changed.

use std::path::PathBuf;

use super::Trainer;
use crate::data::Contents;
use crate::error::{self, Error, Result};
use crate::train::checkpoint;
use crate::train::events::RunOptions;
use crate::train::provenance::Provenance;

/// The checkpoint that a run is resumed from.
pub(super) struct Resumed {
    pub(super) checkpoint: PathBuf,
    /// Provenance of the checkpoint's data.
    pub(super) data: Option<Provenance>,
    /// Error about changed target files, if they have changed.
    pub(super) targets: Option<Error>,
}

impl Trainer {
    /// Lets a resumed run continue with data that has changed since its checkpoint was written.
    pub fn allow_changed_data(&mut self) {
        self.may_change = true;
    }

    /// Determines the provenance of the run's data, and compares it with that of the checkpoint.
    ///
    /// # Errors
    /// Fails if a picture cannot be read, or the data changed and this was not allowed.
    pub(super) fn identify_data(&mut self, options: &RunOptions) -> Result<()> {
        let memory = checkpoint::contents_beside(&options.out);
        let mut contents = Contents::open(&memory);
        let now = self.work.provenance(&mut contents)?;
        if let Err(e) = contents.save(&memory) {
            self.notices
                .push(format!("{e}; a resumed run will read all pictures again"));
        }
        if let Some(resumed) = self.resumed.take() {
            self.compare(resumed, &now)?;
        }
        self.data = Some(now);
        Ok(())
    }

    fn compare(&mut self, resumed: Resumed, now: &Provenance) -> Result<()> {
        let path = &resumed.checkpoint;
        match resumed.targets {
            Some(e) if !self.may_change => return Err(e),
            Some(_) => self.notices.push(format!(
                "{} was taken of a run on other target files; going on with those of now",
                error::name(path)
            )),
            None => {}
        }
        let Some(before) = resumed.data else {
            self.notices.push(format!(
                "{} was written by an older version and does not say what data it was trained on; the data is \
                 assumed to be the same",
                error::name(path)
            ));
            return Ok(());
        };
        match before.difference(now) {
            None => Ok(()),
            Some(what) if self.may_change => {
                self.notices.push(format!(
                    "the data changed since {} was written: {what}; going on with it as it is now",
                    error::name(path)
                ));
                Ok(())
            }
            Some(what) => Err(Error::file(
                path,
                format_args!(
                    "the data changed since it was written: {what}; bring the data back, or go on with it as it is now \
                     by --data-changed"
                ),
            )),
        }
    }
}
