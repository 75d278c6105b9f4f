//! Glimpse describes images in sentences (image captioning).
//!
//! One crate has all of it: a tensor with automatic differentiation, hand-written kernels for CPU and GPU, DenseNet, an
//! LSTM decoder, the training loop, a web service and the command line. It is meant to be read. Each module builds only on
//! those of lower floors:
//!
//! | floor | module | holds |
//! |---|---|---|
//! | 0 | [`error`] | the error type; every message is one line |
//! | 1 | [`cpu`], [`gpu`] | the CPU: SIMD, matrix products, convolution, the thread pool; the GPU: buffers, shaders, the command stream |
//! | 2 | [`tensor`] | the tensor and the tape |
//! | 3 | [`ops`] | the operations, each with its gradient, its oracle and its kernels |
//! | 4 | [`nn`], [`data`] | layers; images, captions and weight files |
//! | 5 | [`model`] | DenseNet, the decoder, the captioner, the self-describing model file |
//! | 6 | [`caption`], [`metrics`], [`convert`], [`fetch`] | search; scores of captions; conversion of published encoder weights; their download |
//! | 7 | [`train`] | the stages of training: distillation, cross-entropy, self-critical |
//! | 8 | [`web`] | the HTTP service |
//! | 9 | [`cli`] | the command line |
//!
//! `tests/floors.rs` checks that a module imports only from lower floors. A good start for reading is [`tensor`], then
//! [`ops`], which derives every gradient. [The book](book) has the architecture, a glossary, and how to add an operation.
//!
//! The two pipelines that all modules serve:
//!
//! ```text
//! caption:  file -> pixels -> tensor -> encoder (DenseNet) -> features -> decoder (LSTM) -> tokens -> text
//! train:    batch -> forward -> loss -> backward -> optimizer -> checkpoint
//! ```

#![warn(missing_docs)]

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
pub mod tensor;
pub mod train;
#[cfg(feature = "serve")]
pub mod web;
