//! The CPU version: SIMD kernels on all cores.
//!
//! The words' part of the gates is one matrix product over all steps. Then the steps follow in order, each for all
//! sentences: one product of the state with `W_hh`, the attention of every sentence, one product of the contexts with
//! `W_iz`, and the gates. The rows of one sentence are contiguous (`[S, T, ..]`), so the rows of one step are a matrix
//! whose row stride is `T` rows. The products read and write such a matrix in place.
//!
//! In the backward pass a step computes only what the step before needs. The gradients with respect to the weights, the
//! words, the keys and the values are computed over all steps at the end.

mod attend;
mod backward;
mod forward;
mod steps;
mod sums;
mod walk;

pub(crate) use backward::backward;
pub(crate) use forward::forward;
