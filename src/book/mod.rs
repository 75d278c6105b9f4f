//! The book of Glimpse: pages for people who read, change or measure it. There is no code here.
//!
//! | page | answers |
//! |---|---|
//! | [`architecture`] | Where is what, what must always hold, and why it was built like this? |
//! | [`contributing`] | Which commands tell me whether a change works, and what does a change bring along? |
//! | [`adding_an_operation`] | Which pieces does a new operation have, and in which order do I write them? |
//! | [`exercises`] | Why is this line there, and which test notices when it is not? |
//! | [`captions`] | How are words chosen, which pictures are read, and on which device? |
//! | [`training`] | Which data does a training read, what does a run leave, and which stages are there? |
//! | [`service`] | How does `glimpse serve` behave, and what are its limits? |
//! | [`packaging`] | How is it installed, and how is a release made? |
//! | [`promises`] | What do the tests hold about files, memory and attacks? |
//! | [`performance`] | How fast is it, measured against what, and where is the limit? |
//! | [`glossary`] | What does a word mean here? |

/// Where is what, what must always hold, and why it was built like this.
#[doc = include_str!("architecture.md")]
pub mod architecture {}

/// The commands that tell whether a change works, and what a change brings along.
#[doc = include_str!("contributing.md")]
pub mod contributing {}

/// The pieces of a new operation, in the order in which to write them.
#[doc = include_str!("adding_an_operation.md")]
pub mod adding_an_operation {}

/// Lines to break and to write anew, and the tests that notice.
#[doc = include_str!("exercises.md")]
pub mod exercises {}

/// How words are chosen, which pictures are read, and on which device.
#[doc = include_str!("captions.md")]
pub mod captions {}

/// The data that a training reads, what a run leaves, and the stages.
#[doc = include_str!("training.md")]
pub mod training {}

/// How `glimpse serve` behaves, and its limits.
#[doc = include_str!("service.md")]
pub mod service {}

/// How it is installed, and how a release is made.
#[doc = include_str!("packaging.md")]
pub mod packaging {}

/// What the tests hold about files, memory and attacks.
#[doc = include_str!("promises.md")]
pub mod promises {}

/// Speed and exactness, measured, with their limits.
#[doc = include_str!("performance.md")]
pub mod performance {}

/// The project's words.
#[doc = include_str!("glossary.md")]
pub mod glossary {}
