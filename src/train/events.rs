//! The events that a run reports to its watcher, and the options of a run.

use std::path::PathBuf;

use super::config::DevScore;
use super::dev::Evaluation;
use super::summary::Summary;

/// The result of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Number of the step, from 1.
    pub step: u64,
    /// Epoch of the step, from 1.
    pub epoch: u64,
    /// The loss that was minimised.
    pub loss: f32,
    /// Parts of the loss and other numbers of the step, by name: `caption_loss`; `policy_loss`, `reward`.
    pub parts: Vec<(String, f32)>,
    /// The learning rate.
    pub lr: f32,
    /// The encoder's learning rate, if it is trained.
    pub encoder_lr: Option<f32>,
    /// Norm of the gradients before clipping.
    pub grad_norm: f64,
    /// Images per second of this step alone.
    pub images_per_s: f64,
}

/// One event of a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The run begins, or continues after `done` of `steps` steps.
    Start {
        /// Steps taken before.
        done: u64,
        /// Steps of the whole run.
        steps: u64,
        /// Number of training images; in the stage `distill`, of views of images.
        images: usize,
        /// Number of elements that the optimizer updates.
        parameters: usize,
        /// Epochs of the whole run.
        epochs: u64,
    },
    /// The captions that the run learns from.
    Data(Summary),
    /// A notice for the user in one sentence. The run continues.
    Notice(String),
    /// Progress of computing a frozen encoder's features.
    Features {
        /// Images done.
        done: usize,
        /// All images.
        images: usize,
    },
    /// A step was taken.
    Step(Report),
    /// The dev split was evaluated.
    Evaluated {
        /// Steps taken.
        step: u64,
        /// Epochs completed, if an epoch has just ended.
        epoch: Option<u64>,
        /// Losses, scores and captions.
        evaluation: Box<Evaluation>,
        /// Whether the score is the best so far.
        best: bool,
    },
    /// The run ends before its last step because the dev score has stopped improving.
    EarlyStop {
        /// Steps taken.
        step: u64,
        /// The step that reached the best score.
        best_step: u64,
        /// That score.
        best_score: f64,
        /// Kind of that score.
        measure: DevScore,
    },
    /// A problem of the training, in one sentence.
    Warning {
        /// Steps taken.
        step: u64,
        /// Kind of the problem: `alike` or `standstill`. A later warning replaces an earlier one of its kind.
        kind: &'static str,
        /// The message.
        text: String,
    },
    /// A checkpoint was written.
    Saved {
        /// Its path.
        path: PathBuf,
    },
}

/// The watcher's answer to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Go on.
    Continue,
    /// Save and stop. Ignored as an answer to [`Event::Start`], [`Event::Data`] and [`Event::Saved`].
    Stop,
}

/// A function that receives every event and may stop the run.
pub type Watch<'a> = &'a mut dyn FnMut(Event) -> Control;

/// The options of a run: its output and its length.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Path of the model; the checkpoint is written beside it.
    pub out: PathBuf,
    /// Steps between two checkpoints. One is also written five minutes after the last one, and at the end of the run,
    /// which can then be resumed for more epochs. 0 writes one only when the run is stopped or fails.
    pub checkpoint_every: u64,
    /// Total number of steps after which to stop; the learning rate schedule is not shortened.
    pub max_steps: Option<u64>,
}

/// Result of a completed run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Number of steps after which the model's weights were taken.
    pub step: u64,
    /// Their dev score and its kind, if there is one.
    pub score: Option<(DevScore, f64)>,
    /// Why the model is of no use and what to do, in one sentence; `None` if it is useful.
    pub warning: Option<String>,
}
