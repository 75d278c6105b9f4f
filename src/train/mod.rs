//! Floor 7: training.
//!
//! ```text
//! batch -> forward -> loss -> backward -> optimizer -> checkpoint
//! ```
//!
//! [`Trainer::step`](trainer::Trainer::step) is that line. Around it, [`config`] says what to do, [`batches`] which
//! images and captions each step sees, `captions`, `self_critical` and [`distill`] hold the losses of the three stages,
//! [`optimizer`], [`schedule`] and [`average`] say how parameters move, [`dev`] evaluates, [`features`] keeps a frozen
//! encoder's features in a file, [`checkpoint`] keeps everything that a run needs to go on, and
//! [`provenance`] tells whether the data is still the same then.
//!
//! All randomness is drawn from the run's seed and the step's number alone. The same seed gives the same bytes, on any number
//! of threads, whether or not the run was interrupted.

pub mod average;
pub mod batches;
pub mod calibrate;
mod captions;
pub mod checkpoint;
mod claim;
pub mod config;
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
pub mod summary;
pub mod trainer;
mod work;

pub use claim::Claim;
pub use config::TrainConfig;
pub use events::{Control, Event, Outcome, Report, RunOptions};
pub use trainer::{Source, Trainer};
