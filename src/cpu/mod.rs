//! Floor 1: the processor.
//!
//! Everything here works on plain slices of `f32`; tensors come a floor above. What the others build on comes first:
//!
//! * [`isa`] finds out, once, which vector instructions this processor has;
//! * [`simd`] is the small trait that kernels are written against, with one file per instruction set;
//! * [`precision`] says what products are taken of: `f32`, or pairs of bf16 in its place;
//! * [`math`] has `exp`, `tanh` and `sigmoid` on vectors, with error bounds that its tests state;
//! * [`kernel`] is the innermost loop that every matrix product and convolution ends in, [`packed`] one of its operands,
//!   [`after`] what it does to a sum before it writes it;
//! * [`gemm`] and [`conv`] bring their operands into the order that the kernel wants;
//! * [`rows`] has the loops over `[rows, channels]` that normalisation and pooling are made of;
//! * [`formats`] converts between `f32` and the number formats of files;
//! * `gates` has the loops over the gates of a recurrent cell;
//! * [`available`] says how much memory a program may still ask for;
//! * [`memory`] keeps large buffers for the next who needs one;
//! * [`profile`] says, on demand, where the time went;
//! * [`threads`] is the only place that knows how work is spread over cores.
//!
//! No function's result depends on the number of threads: work is cut by shape alone, and every sum is
//! taken in one fixed order.

pub mod after;
pub mod aligned;
pub mod available;
pub mod conv;
pub mod formats;
pub(crate) mod gates;
pub mod gemm;
pub mod isa;
pub mod kernel;
pub mod math;
pub mod memory;
pub mod packed;
pub mod precision;
pub mod profile;
pub mod rows;
pub mod simd;
pub mod threads;

pub use isa::{Isa, Level};
pub use precision::Precision;
