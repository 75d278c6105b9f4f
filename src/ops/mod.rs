//! Floor 3: the operations, one folder each.
//!
//! A folder's `mod.rs` has the equation, the shapes, the public function and, right under it, its gradient;
//! `naive.rs` is the definition as plain loops, the oracle that everything else is tested against; `cpu.rs`
//! has the vector kernel. Feature maps are `[N, H, W, C]` throughout: a pixel's channels lie side by side, so
//! that kernels run along them and a dense block can write its channels next to its input's.
//!
//! Operations do not import each other, with two exceptions that are built from others by definition:
//! [`norm_relu_conv`] and, on top of it, [`dense_block`].

pub mod batch_norm;
pub mod conv2d;
pub mod dense_block;
pub mod norm_relu_conv;
pub mod relu;

pub use batch_norm::{Norm, Statistics, batch_norm};
pub use conv2d::{Window, conv2d};
pub use dense_block::{DenseLayer, dense_block};
pub use norm_relu_conv::norm_relu_conv;
pub use relu::relu;

#[cfg(test)]
pub(crate) mod testing;
