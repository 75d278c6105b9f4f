//! Floor 7: training.
//!
//! ```text
//! batch -> forward -> loss -> backward -> optimizer -> checkpoint
//! ```
//!
//! [`Trainer::step`](trainer::Trainer::step) is that line. Around it:
//!
//! - [`config`] holds the settings of a run;
//! - [`batches`] selects the images and captions of each step;
//! - `cross_entropy`, `self_critical` and [`distill`] compute the losses of the three stages;
//! - [`optimizer`], [`schedule`] and [`average`] update the parameters;
//! - [`dev`] evaluates;
//! - [`features`] caches a frozen encoder's features in a file;
//! - [`checkpoint`] stores everything that a run needs to continue;
//! - [`provenance`] tells whether the data of a resumed run has changed;
//! - [`record`] writes the log and the report of a run;
//! - `calibrate` fits the confidence of a trained captioner.
//!
//! All randomness is drawn from the run's seed and the step's number alone. The same seed gives the same bytes, on any
//! number of threads, whether or not the run was interrupted.

pub mod average;
pub mod batches;
#[cfg(any(feature = "ndarray", test))]
pub mod calibrate;
mod captions;
pub mod checkpoint;
mod claim;
pub mod config;
mod cross_entropy;
pub mod dev;
pub mod distill;
mod distilling;
pub mod events;
pub mod features;
mod frozen;
mod memory;
pub mod optimizer;
pub mod progress;
pub mod provenance;
pub mod record;
pub mod schedule;
mod self_critical;
mod step;
pub mod summary;
pub mod trainer;
mod work;

pub use claim::Claim;
pub use config::TrainConfig;
pub use events::{Control, Event, Outcome, Report, RunOptions};
pub use trainer::{Source, Trainer};
