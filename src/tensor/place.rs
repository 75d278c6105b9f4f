//! The implementation of an operation that runs: the definition, the CPU's kernels, or the GPU's.

use super::{Device, Tensor};
use crate::cpu::Isa;
use crate::gpu::Gpu;

/// Where an operation runs, and with which of its implementations.
///
/// An operation calls [`Place::of`] once, in its forward pass. Its backward pass runs in the same place.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// The definition as plain loops on the CPU, which the tests compare the kernels with.
    Naive,
    /// The kernels on the CPU, with the instructions of this set.
    Cpu(Isa),
    /// The shaders, on this GPU.
    Gpu(Gpu),
}

impl Place {
    /// Returns where an operation on `inputs` runs: on the GPU that holds one of them, or else on the CPU, with the
    /// instruction set of this thread.
    pub(crate) fn of(inputs: &[&Tensor]) -> Place {
        match Device::of(inputs) {
            Device::Gpu(gpu) => Place::Gpu(gpu),
            Device::Cpu => match Isa::current() {
                isa if isa.is_naive() => Place::Naive,
                isa => Place::Cpu(isa),
            },
        }
    }
}
