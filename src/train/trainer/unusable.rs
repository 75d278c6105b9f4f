//! Unreadable pictures in the middle of a run: after the first one all others are checked, so that one message names
//! all of them.

use std::path::Path;

use super::Trainer;
use crate::data::dataset::{refusal, unreadable};
use crate::error::Error;
use crate::train::work::Work;

impl Trainer {
    /// Returns the error. If it concerns a picture of the run, the error names all pictures that cannot be read.
    pub(super) fn all_unusable(&self, error: Error) -> Error {
        let Work::Captions(work) = &self.work else {
            return error;
        };
        let samples = [Some(&work.train), work.dev.as_ref().map(|dev| &dev.samples)];
        let samples = samples.into_iter().flatten();
        let paths: Vec<&Path> = samples
            .flat_map(|samples| (0..samples.len()).map(|at| samples.path(at)))
            .collect();
        all_of(error, &paths)
    }
}

/// Returns the error. If it concerns one of these pictures, the error names all of them that cannot be read.
pub(super) fn all_of(error: Error, pictures: &[&Path]) -> Error {
    match &error {
        Error::File { path, .. } if pictures.contains(&path.as_path()) => {
            refusal(&unreadable(pictures), pictures.len()).unwrap_or(error)
        }
        _ => error,
    }
}
