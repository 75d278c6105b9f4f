//! Glimpse describes images in sentences (image captioning).
//!
//! ```
//! use glimpse::{Captioner, Image};
//!
//! fn main() -> glimpse::Result<()> {
//!     let captioner = Captioner::bundled()?;
//!     let image = Image::open("weights/samples/raccoon.jpg")?;
//!     let described = captioner.describe(&image)?;
//!     println!("{described} (confidence: {:?})", described.confidence);
//!     Ok(())
//! }
//! ```
//!
//! [`Captioner::options`] has the other options: alternatives, a minimum confidence, sampling. [`Captioner::load`] loads a
//! model that `glimpse train` or the module [`train`] has written.
//!
//! # Features
//!
//! With `default-features = false` the crate is the engine alone: tensors, operations, layers, images, the bundled model,
//! captions, training and scores, on the CPU. Features add the rest; all but `heic` are on by default.
//!
//! | feature | adds |
//! |---|---|
//! | `gpu` | computation on GPUs with Vulkan, Metal or DirectX 12 |
//! | `ndarray` | conversions between [`Tensor`] and the arrays of `ndarray`; `train::calibrate` |
//! | `toml` | training settings from TOML files |
//! | `convert` | weight files of PyTorch and Keras: `data::import`, the module `convert`, METEOR's archive |
//! | `fetch` | downloads of published weights: the module `fetch` |
//! | `serve` | the HTTP service: the module `web` |
//! | `cli` | the command line, with the programs `glimpse` and `glimpse-convert`; implies all above but `gpu` |
//! | `heic` | images in HEIC, whose coding is covered by patents in many countries |
//!
//! # Modules
//!
//! One crate has all of it: a tensor with automatic differentiation, hand-written kernels for CPU and GPU, DenseNet, an
//! LSTM decoder, the training loop, a web service and the command line. It is meant to be read. Each module builds only on
//! those of lower floors:
//!
//! | floor | module | holds |
//! |---|---|---|
//! | 0 | [`error`], [`sizes`] | the error type; every message is one line; the sizes of a convolution |
//! | 1 | [`cpu`], [`gpu`] | CPU: SIMD, matrix products, convolution, the thread pool; GPU: buffers, shaders, the command stream |
//! | 2 | [`tensor`] | the tensor and the tape |
//! | 3 | [`ops`] | the operations, each with its gradient, its definition and its kernels |
//! | 4 | [`nn`], [`data`] | layers; images, captions and weight files |
//! | 5 | [`model`] | DenseNet, the decoder, the captioner, the self-describing model file |
//! | 6 | [`caption`], [`metrics`], `convert`, `fetch` | search; scores of captions; conversion of published encoder weights; their download |
//! | 7 | [`train`] | the stages of training: distillation, cross-entropy, self-critical |
//! | 8 | `web` | the HTTP service |
//! | 9 | `cli` | the command line |
//!
//! `tests/floors.rs` checks that a module imports only from lower floors, and `tests/circles` that no two files use each
//! other, except a module and its child. A good start for reading is [`tensor`], then [`ops`], which derives every
//! gradient. [The book](book) has the architecture, a glossary, and how to add an operation. `tools/examples` has four
//! short programs: a caption, a training, a new operation, and a search for similar images.
//!
//! The two pipelines that all modules serve:
//!
//! ```text
//! caption:  file -> pixels -> tensor -> encoder (DenseNet) -> map or features -> decoder (LSTM) -> tokens -> text
//! train:    batch -> forward -> loss -> backward -> optimizer -> checkpoint
//! ```
//!
//! [`caption::DescribeOptions::describe_all`] is the first, from the pixels on; [`train::Trainer::step`] is the second, up to
//! the optimizer.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(missing_docs)]

pub mod book;
pub mod caption;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "convert")]
pub mod convert;
pub mod cpu;
pub mod data;
pub mod error;
#[cfg(feature = "fetch")]
pub mod fetch;
pub mod gpu;
pub mod metrics;
pub mod model;
pub mod nn;
pub mod ops;
pub mod sizes;
pub mod tensor;
pub mod train;
#[cfg(feature = "serve")]
pub mod web;

pub use caption::{Caption, DescribeOptions, Described, Sampling, Search, Token};
pub use data::{Image, Recipe};
pub use error::{Error, Result};
pub use model::{Captioner, DenseNet, Tag};
pub use nn::{Mode, Module};
pub use tensor::{Device, Tensor};
