//! Floor 1: the graphics device.
//!
//! Everything here works on buffers of numbers; tensors come a floor above. In reading order:
//!
//! * [`adapter`] finds the graphics devices of this machine and chooses one;
//! * [`device`] opens it, and turns everything that can go wrong with it into an [`Error`](crate::error::Error);
//! * [`buffer`] lends memory, and takes it back for the next who asks;
//! * [`shaders`] names the WGSL files and makes pipelines of them, each once;
//! * [`kernel`] is one run of an entry point: its buffers, its parameters, its workgroups;
//! * [`stream`] gathers such runs and hands them over when something is read or enough has gathered;
//! * [`timing`] says, on demand, how long each took on the device;
//! * [`copy`], [`gemm`], [`conv`], [`norm`] and [`sum`] start the shaders that several operations are made of.
//!
//! Nothing waits for the device but reading. Operations only append to a list, in the order of the program, and the
//! device works through it on its own time; so a buffer that is no longer needed can be lent again at once, to
//! whoever comes later in the same list.
//!
//! No result depends on how work is scheduled: every sum has one order, cut by shape alone, and there are no atomic
//! additions.

pub mod adapter;
pub mod buffer;
pub mod conv;
pub mod copy;
pub mod device;
pub mod gemm;
pub mod kernel;
pub mod norm;
pub mod shaders;
pub mod stream;
pub mod sum;
pub mod timing;

use std::fmt::Display;

pub use adapter::{Adapter, Choice, adapters};
pub use buffer::{Buffer, Slice};
pub use device::Gpu;
pub use kernel::Kernel;
pub use shaders::Shader;

/// What a driver or a library says of an error, for those who work on this program; in a release it is left out, for it
/// tells its users nothing.
fn detail(what: &dyn Display) -> String {
    match cfg!(debug_assertions) {
        true => format!(" ({what})"),
        false => String::new(),
    }
}
