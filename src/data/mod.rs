//! From files to numbers: images, captions and the datasets that pair them.
//!
//! A picture passes through this floor in the order of these modules:
//!
//! 1. [`folder`] turns the paths that a user typed into a list of image files.
//! 2. [`image`] decodes a file into RGB pixels, whatever its format, depth or orientation.
//! 3. [`resize`] scales pixels, and [`preprocess`] combines that with cropping and normalisation into a named
//!    [`Recipe`]. The result is the `[N, H, W, 3]` tensor that an encoder takes.
//!
//! Training adds three more: [`dataset`] reads captioning datasets as they are published, [`augment`] varies the
//! pictures, and [`vocabulary`] turns captions into token ids and back. In distillation, [`view`] shows the student the
//! part of the picture that the teacher saw. [`weights`] reads and writes files of weights and models; [`rows`] reads
//! their large tensors row by row; [`import`] reads the files of PyTorch and Keras. [`contents`] identifies files by
//! their contents. All files are written by [`store`]. [`words`] explains errors in JSON and TOML files.

pub mod augment;
mod bytes;
pub mod contents;
pub mod dataset;
mod float;
pub mod folder;
mod format;
pub mod function_words;
pub mod image;
pub mod import;
pub(crate) mod letters;
pub mod preprocess;
pub mod resize;
pub mod rows;
mod samples;
pub mod store;
pub mod view;
pub mod vocabulary;
pub mod weights;
pub mod words;

pub use augment::Augment;
pub use contents::Contents;
pub use dataset::{Dataset, Example, Given, Split};
pub use image::{Cost, Fault, Image, Limits, Policy, Unreadable};
pub use preprocess::{Method, Recipe};
pub use rows::Rows;
pub use samples::{SAMPLES, Sample};
pub use view::View;
pub use vocabulary::Vocabulary;

/// Formats bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
