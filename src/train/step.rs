//! One step of a run: its position, its loss, and its random numbers.

use crate::tensor::Tensor;

/// Position of a step in its run.
#[derive(Clone, Copy)]
pub(super) struct Position {
    /// Index of the step, from 0.
    pub(super) step: u64,
    /// Steps of the whole run.
    pub(super) total: u64,
}

/// The loss of a step, and numbers for the log.
pub(super) struct Terms {
    /// The loss: a scalar on the tape.
    pub(super) total: Tensor,
    /// Parts of the loss and other numbers by name.
    pub(super) parts: Vec<(String, Tensor)>,
    /// Number of images in the step.
    pub(super) images: usize,
}

/// Purposes of random numbers in a run. Each purpose is a separate stream of the generator, but for `SCHEDULED` and
/// `VIEWS`, which belong to different stages.
pub(super) mod purpose {
    /// Order of the images in an epoch.
    pub const ORDER: u64 = 1;
    /// Mirrored images of a batch, and the captions chosen for each.
    pub const BATCH: u64 = 2;
    pub const DROPOUT: u64 = 3;
    pub const ENCODER: u64 = 4;
    pub const SCHEDULED: u64 = 5;
    /// Order of the views in an epoch of the stage `distill`.
    pub const VIEWS: u64 = 5;
    pub const DRAWS: u64 = 6;
}
