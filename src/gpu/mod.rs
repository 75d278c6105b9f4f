//! Floor 1: the GPU.
//!
//! Everything here works on buffers of numbers; tensors belong to the floor above. In reading order:
//!
//! * [`choice`] describes the wanted GPU, [`adapter`] lists the GPUs of this machine and chooses one;
//! * [`shaders`] names the WGSL files, [`params`] declares their parameters, and `pipelines` compiles each pipeline once;
//! * `timing` measures the time of each kernel with the GPU's clock, when switched on;
//! * `stream` records dispatches in a command buffer, and submits it when a result is read or the buffer is full;
//! * `pool` keeps the memory of buffers that are no longer in use;
//! * [`device`] opens a GPU, which owns all of these, and turns its failures into an [`Error`](crate::error::Error);
//! * [`buffer`] allocates GPU memory from the pool, and gives it back; [`mod@slice`] is a part of a buffer;
//! * `commands` appends dispatches and copies to the stream, and reads results;
//! * [`kernel`] describes one dispatch of an entry point: its buffers, its parameters, its workgroups;
//! * [`copy`], [`elementwise`], [`gates`], [`gemm`], [`conv`] and [`sum`] dispatch the shaders that several
//!   operations share.
//!
//! Reads wait for the GPU, operations do not. Operations append dispatches to a command buffer, in the order of the
//! program, and the GPU executes them in that order on its own time. So a buffer that is no longer needed can be reused
//! at once by a later dispatch.
//!
//! No result depends on how work is scheduled: the shape alone decides how sums are split, every sum is taken in one fixed
//! order, and there are no atomic additions.
//!
//! Without the feature `gpu`, the modules that call the library `wgpu` are left out. The module `absent` stands in for those
//! that operations use: `adapter`, `buffer`, `device` and `kernel`. The operations call the same functions in either build.

#[cfg(not(feature = "gpu"))]
pub mod absent;
#[cfg(feature = "gpu")]
pub mod adapter;
#[cfg(feature = "gpu")]
pub mod buffer;
pub mod choice;
#[cfg(feature = "gpu")]
mod commands;
pub mod conv;
pub mod copy;
#[cfg(feature = "gpu")]
pub mod device;
pub mod elementwise;
pub mod gates;
pub mod gemm;
#[cfg(feature = "gpu")]
pub mod kernel;
pub mod params;
#[cfg(feature = "gpu")]
pub(crate) mod pipelines;
#[cfg(feature = "gpu")]
mod pool;
pub mod shaders;
pub mod slice;
#[cfg(feature = "gpu")]
pub mod stream;
pub mod sum;
#[cfg(feature = "gpu")]
pub mod timing;

#[cfg(not(feature = "gpu"))]
pub use absent::{self as adapter, self as buffer, self as device, self as kernel};
pub use adapter::{Adapter, adapters};
pub use buffer::Buffer;
pub use choice::{Choice, ON_THE_CPU};
pub use device::Gpu;
pub use kernel::Kernel;
pub use shaders::Shader;
pub use slice::Slice;
