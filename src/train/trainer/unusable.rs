//! A picture that turns out to be unreadable in the middle of a run: the others are looked at too, so that one message names
//! all of them.

use std::path::Path;

use super::Trainer;
use crate::data::dataset::{refusal, unreadable};
use crate::error::Error;
use crate::train::work::Work;

impl Trainer {
    /// The error, or where it is about one of the run's pictures, one about all that cannot be read.
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

/// The error, or where it is about one of these pictures, one about all of them that cannot be read.
pub(super) fn all_of(error: Error, pictures: &[&Path]) -> Error {
    match &error {
        Error::File { path, .. } if pictures.contains(&path.as_path()) => {
            refusal(&unreadable(pictures), pictures.len()).unwrap_or(error)
        }
        _ => error,
    }
}
