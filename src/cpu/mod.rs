//! Floor 1: CPU kernels.
//!
//! Everything here works on plain slices of `f32`; tensors belong to the floor above. Modules that others build on come
//! first:
//!
//! * [`precision`] names the operand types of products: `f32`, or pairs of bf16 that share 32 bits;
//! * [`simd`] is the small trait that kernels are written against, with one file per instruction set;
//! * [`isa`] finds out once which vector instructions this processor has;
//! * [`math`] has `exp`, `tanh` and `sigmoid` on vectors, with error bounds that its tests state;
//! * [`kernel`] is the innermost loop, which every matrix product and convolution ends in. [`packed`] is its right-hand
//!   operand, and [`after`] the epilogue: the operation that it applies to a sum before writing it;
//! * [`pixels`] describes the feature maps that [`conv`] and [`rows`] read and write;
//! * `pairs` copies activations as pairs of bf16;
//! * [`gemm`] and [`conv`] arrange their operands in the order that the kernel reads;
//! * [`rows`] divides loops over `[rows, channels]` among the threads, and sums rows;
//! * [`elements`] has loops over one slice: they scale it, find its largest element, or sum exponentials;
//! * [`formats`] converts between `f32` and the number formats of files;
//! * `gates` has the loops over the gates of a recurrent cell;
//! * [`available`] says how much memory this process can still allocate;
//! * [`memory`] is a pool of large buffers that are used again, and [`aligned`] scratch memory that starts on a cache line;
//! * [`profile`] measures the time of each operation, when switched on;
//! * [`threads`] is the only module that distributes work over cores.
//!
//! No function's result depends on the number of threads: the shape alone decides how sums are split, and every sum is
//! taken in one fixed order.

pub mod after;
pub mod aligned;
pub mod available;
pub mod conv;
pub mod elements;
pub mod formats;
pub(crate) mod gates;
pub mod gemm;
pub mod isa;
pub mod kernel;
pub mod math;
pub mod memory;
pub mod packed;
pub(crate) mod pairs;
pub mod pixels;
pub mod precision;
pub mod profile;
pub mod rows;
pub mod simd;
pub mod threads;

pub use isa::{Isa, Level};
pub use precision::Precision;
