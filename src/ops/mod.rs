//! Floor 3: the operations, one folder each.
//!
//! A folder has these files; a long one is a folder of its own:
//!
//! - `mod.rs` has the equation, the shapes, the derivation of the gradient, and the public function.
//! - `naive.rs` is the definition as plain loops, which the kernels are tested against.
//! - `cpu.rs` has the SIMD kernels.
//! - `gpu.rs` dispatches the shader of the same name in `shaders/`, or calls the functions of [`crate::gpu`] that several
//!   operations share, such as the matrix product.
//! - `tests.rs` compares all of these with each other and with PyTorch. A row of `table.rs` compares the gradient with
//!   difference quotients, and runs the operation on views.
//!
//! The three implementations have functions of the same names, mostly `forward` and `backward`. Their parameters are the
//! same, except that the CPU version also takes the instruction set and the GPU version the GPU. The public function checks
//! the shapes, chooses one of the three, and records the gradient:
//!
//! ```text
//! let job = Job::check(x, weight, bias)?;                shapes, messages, sizes
//! let place = Place::of(&inputs);                        the definition, the CPU or the GPU
//! let y = match &place {
//!     Place::Naive => naive::forward(&job),
//!     Place::Cpu(isa) => cpu::forward(*isa, &job),
//!     Place::Gpu(gpu) => gpu::forward(gpu, &job)?,
//! };
//! y.record(&inputs, move |dy, wanted| ...)               the same three, for the gradients that are wanted
//! ```
//!
//! # Notation
//!
//! `dx` is the gradient of the loss with respect to `x`; it has the shape of `x`. An operation that computes `y` from `x`
//! receives `dy` from the tape and returns `dx`, by the chain rule:
//!
//! ```text
//! dx[i] = sum over j of dy[j] (derivative of y[j] with respect to x[i])
//! ```
//!
//! A prime means "after": `c'` is the cell state after a step. The code writes it `c_new`. Apart from that, the code uses
//! the letters of the equation or spells them out: `weight` for `w`, `channels` for `C`. Feature maps are `[N, H, W, C]`:
//! the channels of a pixel are contiguous, so kernels loop along them, and a dense block can write new channels next to
//! those of its input.
//!
//! # Where an operation runs
//!
//! An operation runs on the GPU if one of its inputs is there, and otherwise on the CPU (`Place::of`). The one exception
//! is [`top_k()`], which runs on the CPU if it has to find more than 64 words in each row. On the GPU every operation can
//! also fail because its memory is used up or it no longer answers.
//!
//! Operations do not import each other. There are four exceptions, which fuse several operations and are defined by them:
//! [`mod@norm_relu_conv`] and, on top of it, [`mod@dense_block`]; [`mod@conv_norm_relu`]; and [`mod@norm_relu_pool`].

pub mod adam;
pub mod attention_lstm;
pub mod avg_pool2d;
pub mod batch_norm;
pub mod categorical;
pub mod clip_grad_norm;
pub mod concat;
pub mod conv2d;
pub mod conv_norm_relu;
pub mod coverage;
pub mod cross_entropy;
pub mod dense_block;
pub mod dropout;
pub mod elementwise;
pub mod embedding;
pub mod global_avg_pool;
pub mod kl_div;
pub mod linear;
pub mod log_softmax;
pub mod lstm;
pub mod matmul;
pub mod max_pool2d;
pub mod mse;
pub mod narrow;
pub mod norm_relu_conv;
pub mod norm_relu_pool;
pub mod reduce;
pub mod relu;
pub mod sgd;
pub mod top_k;

pub use attention_lstm::{Attended, AttentionLstmWeights, Memory, attention_lstm};
pub use avg_pool2d::avg_pool2d;
pub use batch_norm::{Folded, Moments, Norm, Statistics, batch_norm};
pub use categorical::categorical;
pub use clip_grad_norm::clip_grad_norm;
pub use concat::concat;
pub use conv_norm_relu::conv_norm_relu;
pub use conv2d::{Window, conv2d};
pub use coverage::coverage;
pub use cross_entropy::{CrossEntropy, cross_entropy, weighted_cross_entropy};
pub use dense_block::{DenseLayerWeights, dense_block};
pub use dropout::dropout;
pub use elementwise::{add, mul, scale, sigmoid, sub, tanh};
pub use embedding::embedding;
pub use global_avg_pool::global_avg_pool;
pub use kl_div::kl_div;
pub use linear::linear;
pub use log_softmax::log_softmax;
pub use lstm::{LstmWeights, lstm_cell, lstm_sequence};
pub use matmul::matmul;
pub use max_pool2d::max_pool2d;
pub use mse::mse;
pub use narrow::narrow;
pub use norm_relu_conv::norm_relu_conv;
pub use norm_relu_pool::norm_relu_pool;
pub use reduce::{mean, sum};
pub use relu::relu;
pub use top_k::{Allowed, Likeliest, top_k};

#[cfg(test)]
mod table;
#[cfg(test)]
pub(crate) mod testing;
