//! Glimpse looks at a picture and says what it sees.
//!
//! One crate holds the whole of it: a tensor and its gradients, hand-written kernels, DenseNet, an LSTM
//! decoder, the training loop, and the programs that people run. It is meant to be read, from the bottom up:
//!
//! | floor | module | holds |
//! |---|---|---|
//! | 0 | [`error`] | one error type, messages of one line |
//! | 1 | [`cpu`], [`gpu`] | the CPU: vector instructions, matrix products, convolution, threads; the GPU: buffers, shaders, command buffers |
//! | 2 | [`tensor`] | the tensor and the tape |
//! | 3 | [`ops`] | the operations, each with its gradient, its oracle and its kernel |
//! | 4 | [`nn`], [`data`] | layers; images, captions and weight files |
//! | 5 | [`model`] | DenseNet, the decoder, the captioner, the file that describes itself |
//! | 6 | [`caption`], [`metrics`], [`convert`], [`fetch`] | search; scores; encoders from others' weights, and where those are found |
//! | 7 | [`train`] | the stages of training: distillation, cross-entropy, self-critical |
//! | 8 | [`web`] | the service: the same captions over HTTP |
//! | 9 | [`cli`] | the command line |
//!
//! [The book](book) has its architecture, its glossary, and how to add an operation.
//!
//! A module imports only from lower floors; a test sees to it.
//!
//! The two lines that everything serves:
//!
//! ```text
//! caption:  file -> pixels -> tensor -> encoder (DenseNet) -> features -> decoder (LSTM) -> tokens -> text
//! train:    batch -> forward -> loss -> backward -> optimizer -> checkpoint
//! ```

#![warn(missing_docs)]

pub mod book;
pub mod caption;
pub mod cli;
pub mod convert;
pub mod cpu;
pub mod data;
pub mod error;
pub mod fetch;
pub mod gpu;
pub mod metrics;
pub mod model;
pub mod nn;
pub mod ops;
pub mod tensor;
pub mod train;
pub mod web;
