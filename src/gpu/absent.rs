//! The GPU of a build without the feature `gpu`: there is none.
//!
//! The operations are written against [`Gpu`], [`Buffer`] and [`Kernel`]. Here these types have no values: each holds a
//! `Never`, which no expression can make. So their methods have nothing to do, and a program cannot reach them. The two
//! functions that could make a [`Gpu`], [`Gpu::open`] and [`Gpu::from_adapter`], return an error or need a value that does
//! not exist.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use bytemuck::Pod;

use super::ON_THE_CPU;
pub use super::choice::{Choice, Kind, VARIABLE};
use super::params::Params;
use super::shaders::{Shader, Variant};
pub use super::slice::Slice;
use crate::error::{Error, Result};

/// A type without values.
#[derive(Clone, PartialEq)]
enum Never {}

/// A GPU of this machine; this build finds none.
pub struct Adapter {
    /// Its index in the result of [`adapters`].
    pub index: usize,
    /// The driver's name for it.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// The API that it is used with.
    pub api: String,
    /// The driver and its version.
    pub driver: String,
    never: Never,
}

/// Returns the GPUs that this build can use: none.
pub fn adapters() -> Vec<Adapter> {
    Vec::new()
}

/// Returns `false`: this build finds no GPU.
pub fn may_be_real() -> bool {
    false
}

impl Adapter {
    /// The largest buffer that a shader can use, in bytes.
    pub fn largest_buffer(&self) -> u64 {
        match self.never {}
    }

    /// Bytes of workgroup memory.
    pub fn workgroup_memory(&self) -> u64 {
        match self.never {}
    }

    /// Its optional features that Glimpse uses.
    pub fn features(&self) -> Vec<&'static str> {
        match self.never {}
    }
}

/// An open GPU; this build opens none.
#[derive(Clone, PartialEq)]
pub struct Gpu(Never);

impl fmt::Debug for Gpu {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {}
    }
}

impl Gpu {
    /// Refuses to open a GPU.
    ///
    /// # Errors
    /// Always: this build has no support for GPUs.
    pub fn open(_: &Choice) -> Result<Self> {
        Err(Error::gpu(
            "GPU",
            format_args!(
                "this build has no support for GPUs; build with the feature `gpu`, or {ON_THE_CPU}"
            ),
        ))
    }

    /// Opens this GPU.
    ///
    /// # Errors
    /// None, because there is no [`Adapter`] to call it with.
    pub fn from_adapter(adapter: &Adapter) -> Result<Self> {
        match adapter.never {}
    }

    /// The driver's name for it.
    pub fn name(&self) -> &str {
        match self.0 {}
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self.0 {}
    }

    /// The largest number of elements in one buffer.
    pub fn max_elements(&self) -> usize {
        match self.0 {}
    }

    /// The largest number of workgroups along the first axis of a dispatch.
    pub fn max_groups(&self) -> usize {
        match self.0 {}
    }

    /// Exposes shader bugs that a GPU may hide, for tests.
    pub fn expose_shader_bugs(&self) {
        match self.0 {}
    }

    /// Returns whether the invocations of a subgroup can compare and add values without workgroup memory.
    pub fn has_subgroups(&self) -> bool {
        match self.0 {}
    }

    /// Switches the use of subgroups off or on.
    pub fn use_subgroups(&self, _wanted: bool) {
        match self.0 {}
    }

    /// Returns whether shaders can compute in f16.
    pub fn has_f16(&self) -> bool {
        match self.0 {}
    }

    /// Returns the size of the square matrices that its matrix units multiply, and the invocations of a subgroup.
    pub fn matrices(&self) -> Option<(usize, usize)> {
        match self.0 {}
    }

    /// Begins a dispatch of `entry` of `shader`.
    pub fn kernel(&self, _shader: Shader, _entry: &'static str) -> Kernel<'_> {
        match self.0 {}
    }

    /// Returns a buffer whose contents are unspecified.
    ///
    /// # Errors
    /// None, because there is no GPU to call it on.
    pub fn unset(&self, _elements: usize) -> Result<Arc<Buffer>> {
        match self.0 {}
    }

    /// Returns a buffer of zeros.
    ///
    /// # Errors
    /// None, because there is no GPU to call it on.
    pub fn zeros(&self, _elements: usize) -> Result<Arc<Buffer>> {
        match self.0 {}
    }

    /// Returns a new buffer that holds `data`.
    ///
    /// # Errors
    /// None, because there is no GPU to call it on.
    pub fn upload<T: Pod>(&self, _data: &[T]) -> Result<Arc<Buffer>> {
        match self.0 {}
    }

    /// Copies `len` elements between two different buffers.
    ///
    /// # Errors
    /// None, because there is no GPU to call it on.
    pub fn copy(&self, _from: &Slice, _to: &Slice, _len: usize) -> Result<()> {
        match self.0 {}
    }

    /// Reads `len` elements.
    ///
    /// # Errors
    /// None, because there is no GPU to call it on.
    pub fn read<T: Pod>(&self, _from: &Slice, _len: usize) -> Result<Vec<T>> {
        match self.0 {}
    }

    /// Returns the number of dispatches so far.
    pub fn dispatches(&self) -> u64 {
        match self.0 {}
    }

    /// Waits until all dispatches are finished.
    ///
    /// # Errors
    /// None, because there is no GPU to call it on.
    pub fn wait(&self) -> Result<()> {
        match self.0 {}
    }

    /// Returns the table of timings.
    pub fn timings(&self) -> Option<String> {
        match self.0 {}
    }

    /// Starts timing with an empty table.
    pub fn start_timing(&self) -> bool {
        match self.0 {}
    }

    /// Milliseconds of all kernels since timing started.
    pub fn timed_ms(&self) -> Option<f64> {
        match self.0 {}
    }
}

/// A buffer of GPU memory; this build has none.
pub struct Buffer(Never);

impl Buffer {
    /// The GPU that the memory belongs to.
    pub fn gpu(&self) -> &Gpu {
        match self.0 {}
    }
}

/// A dispatch that is being built; this build has none.
pub struct Kernel<'a> {
    never: Never,
    borrowed: PhantomData<&'a Slice>,
}

impl<'a> Kernel<'a> {
    /// Uses a variant of the shader instead of its plain text.
    pub fn variant(self, _variant: Variant) -> Self {
        match self.never {}
    }

    /// Sets an `override` of the shader.
    pub fn constant(self, _name: &'static str, _value: u32) -> Self {
        match self.never {}
    }

    /// Sets the contents of the shader's uniform block.
    pub fn params<P: Params>(self, _params: &P) -> Self {
        match self.never {}
    }

    /// Binds a buffer that is read.
    pub fn read(self, _number: u32, _slice: &'a Slice) -> Self {
        match self.never {}
    }

    /// Binds a buffer that is written, and may be read.
    pub fn write(self, _number: u32, _slice: &'a Slice) -> Self {
        match self.never {}
    }

    /// Sets the number of floating-point operations, for the table of timings.
    pub fn flops(self, _flops: f64) -> Self {
        match self.never {}
    }

    /// Dispatches one invocation for each of `elements`.
    ///
    /// # Errors
    /// None, because there is no dispatch to call it on.
    pub fn over(self, _elements: usize) -> Result<()> {
        match self.never {}
    }

    /// Dispatches `groups` workgroups.
    ///
    /// # Errors
    /// None, because there is no dispatch to call it on.
    pub fn groups(self, _groups: usize) -> Result<()> {
        match self.never {}
    }

    /// Dispatches this many workgroups along each axis.
    ///
    /// # Errors
    /// None, because there is no dispatch to call it on.
    pub fn grid(self, _groups: [usize; 3]) -> Result<()> {
        match self.never {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_is_refused_with_the_feature_that_is_missing() {
        let refused = Gpu::open(&Choice::Best).unwrap_err().to_string();
        assert!(refused.contains("feature `gpu`"), "{refused}");
        assert!(adapters().is_empty() && !may_be_real());
    }
}
