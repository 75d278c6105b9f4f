//! The events of a run, for whoever watches it, and how far it goes.

use std::path::PathBuf;

use super::config::DevScore;
use super::dev::Evaluation;
use super::summary::Summary;

/// The result of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The step's number, from 1.
    pub step: u64,
    /// The epoch that it belongs to, from 1.
    pub epoch: u64,
    /// The loss that was minimised.
    pub loss: f32,
    /// Its parts and other numbers of the step, by name: `caption_loss`; `policy_loss`, `reward`.
    pub parts: Vec<(String, f32)>,
    /// The learning rate.
    pub lr: f32,
    /// The encoder's learning rate, where it is trained.
    pub encoder_lr: Option<f32>,
    /// The norm of the gradients, before clipping.
    pub grad_norm: f64,
    /// Images a second, of this step alone.
    pub images_per_s: f64,
}

/// One event of a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The run begins, or goes on after `done` of `steps` steps.
    Start {
        /// Steps taken before.
        done: u64,
        /// Steps of the whole run.
        steps: u64,
        /// Training images, or, in the stage `distill`, views of images.
        images: usize,
        /// Elements that the optimizer moves.
        parameters: usize,
        /// Epochs of the whole run.
        epochs: u64,
    },
    /// The captions that the run learns from.
    Data(Summary),
    /// Something that the user should know and that does not stop the run, in one sentence.
    Notice(String),
    /// A frozen encoder has computed the features of so many of the images.
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
        /// Epochs done, where an epoch has just ended.
        epoch: Option<u64>,
        /// Losses, scores and captions.
        evaluation: Box<Evaluation>,
        /// Whether the score is the best so far.
        best: bool,
    },
    /// The run ends before its last step because the dev score has not become better for a while.
    EarlyStop {
        /// Steps taken.
        step: u64,
        /// The step that reached the best score.
        best_step: u64,
        /// That score.
        best_score: f64,
        /// Which score it is.
        measure: DevScore,
    },
    /// Something goes wrong with the learning, in one sentence.
    Warning {
        /// Steps taken.
        step: u64,
        /// What goes wrong, in a word: `alike` or `standstill`. A later warning replaces an earlier one of its kind.
        kind: &'static str,
        /// The sentence.
        text: String,
    },
    /// A checkpoint was written.
    Saved {
        /// Its path.
        path: PathBuf,
    },
}

/// The watcher's wish after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Go on.
    Continue,
    /// Save and stop.
    Stop,
}

/// A function that is told every event and may stop the run.
pub type Watch<'a> = &'a mut dyn FnMut(Event) -> Control;

/// How far a run goes and what it leaves.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Where the model goes; the checkpoint goes beside it.
    pub out: PathBuf,
    /// A checkpoint after every so many steps; 0 is only when stopped.
    pub checkpoint_every: u64,
    /// Stop after this many steps in all; the learning rate still runs as configured.
    pub max_steps: Option<u64>,
}

/// How a run ended that went to its end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The steps after which the weights were as they are in the model.
    pub step: u64,
    /// Their dev score, where there is one, and which score it is.
    pub score: Option<(DevScore, f64)>,
    /// Why the model is of no use, in one sentence that says what to do, where it is of none.
    pub warning: Option<String>,
}
