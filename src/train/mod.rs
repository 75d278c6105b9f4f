//! Floor 6: training.
//!
//! ```text
//! batch -> forward -> loss -> backward -> optimizer -> checkpoint
//! ```
//!
//! [`Trainer::step`](trainer::Trainer::step) is that line. Around it, [`config`] says what to do, [`batches`] which
//! images and captions each step sees, [`optimizer`] how parameters move, [`features`] keeps a frozen encoder's
//! features in a file, and [`checkpoint`] keeps everything that a run needs to go on.
//!
//! Whatever is random is drawn from the run's seed and the step's number alone. The same seed gives the same
//! bytes, on any number of threads, whether or not the run was interrupted.

pub mod batches;
pub mod checkpoint;
pub mod config;
pub mod distill;
pub mod features;
pub mod optimizer;
mod student;
pub mod trainer;

pub use config::TrainConfig;
pub use trainer::{Control, Event, Report, Trainer};
