//! One run of a shader's entry point.
//!
//! ```text
//! gpu.kernel(Shader::Relu, "relu_forward")
//!     .params(&[n as u32])                  what binding 0, the uniform block, holds
//!     .read(1, &x)                          the buffers, by the numbers that the shader gives them
//!     .write(3, &y)
//!     .over(n)?                             a thread for each of n elements
//! ```
//!
//! A tensor may begin anywhere in its buffer; where it does is a parameter like any other.

use bytemuck::Pod;

use super::Gpu;
use super::buffer::{Buffer, Slice};
use super::shaders::{Dialect, Key, Shader};
use super::stream::{PARAMS, Run};
use super::timing::Label;
use crate::error::Result;

/// Threads of a workgroup where every thread has an element of its own; shaders spell it out.
pub const THREADS: usize = 256;

/// A buffer at the place where a shader looks for it.
pub(super) struct Binding<'a> {
    pub(super) number: u32,
    pub(super) buffer: &'a Buffer,
    pub(super) writable: bool,
}

/// A run in the making.
#[must_use = "nothing runs until it is told over what"]
pub struct Kernel<'a> {
    gpu: &'a Gpu,
    key: Key,
    bindings: Vec<Binding<'a>>,
    params: Vec<u8>,
    flops: f64,
}

impl Gpu {
    /// A run of `entry` of `shader`.
    pub fn kernel(&self, shader: Shader, entry: &'static str) -> Kernel<'_> {
        Kernel {
            gpu: self,
            key: Key {
                shader,
                dialect: Dialect::Plain,
                entry,
                constants: Vec::new(),
                writable: Vec::new(),
            },
            bindings: Vec::new(),
            params: Vec::new(),
            flops: 0.0,
        }
    }
}

impl<'a> Kernel<'a> {
    /// Takes the shader in another dialect than the plain one.
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.key.dialect = dialect;
        self
    }

    /// Sets an `override` of the shader.
    pub fn constant(mut self, name: &'static str, value: u32) -> Self {
        self.key.constants.push((name, value));
        self
    }

    /// Appends to the shader's uniform block.
    pub fn params<T: Pod>(mut self, params: &[T]) -> Self {
        self.params.extend_from_slice(bytemuck::cast_slice(params));
        self
    }

    /// Binds a buffer that is read.
    pub fn read(mut self, number: u32, slice: &'a Slice) -> Self {
        self.bindings.push(Binding {
            number,
            buffer: &slice.buffer,
            writable: false,
        });
        self
    }

    /// Binds a buffer that is written, and may be read.
    pub fn write(mut self, number: u32, slice: &'a Slice) -> Self {
        self.bindings.push(Binding {
            number,
            buffer: &slice.buffer,
            writable: true,
        });
        self
    }

    /// How many floating-point operations it takes, for the table of timings.
    pub fn flops(mut self, flops: f64) -> Self {
        self.flops = flops;
        self
    }

    /// Runs it with a thread for each of `elements`, in workgroups of [`THREADS`].
    ///
    /// # Errors
    /// Where the shader does not compile here or the device is lost.
    pub fn over(self, elements: usize) -> Result<()> {
        self.groups(elements.div_ceil(THREADS))
    }

    /// Runs it with `groups` workgroups, which are laid out in a rectangle where they are too many for a line: the
    /// number of one is `y * width + x`, and those beyond the last have nothing to do.
    ///
    /// # Errors
    /// As [`Kernel::over`].
    pub fn groups(self, groups: usize) -> Result<()> {
        let width = groups.min(self.gpu.most_groups()).max(1);
        self.grid([width, groups.div_ceil(width), 1])
    }

    /// Runs it with this many workgroups along each axis.
    ///
    /// # Errors
    /// As [`Kernel::over`]; also where there are more along one axis than a device can start.
    pub fn grid(mut self, groups: [usize; 3]) -> Result<()> {
        if groups.contains(&0) {
            return Ok(());
        }
        let most = self.gpu.0.limits.max_compute_workgroups_per_dimension;
        if let Some(many) = groups.iter().find(|&&n| n > most as usize) {
            let what = format_args!(
                "{} would need {many} workgroups side by side, {most} are the most; take a smaller batch",
                self.key.entry
            );
            return Err(self.gpu.error(what));
        }
        assert!(
            self.params.len() as u64 <= PARAMS,
            "{} has too many parameters",
            self.key.entry
        );
        self.bindings.sort_by_key(|b| b.number);
        self.key.writable = self
            .bindings
            .iter()
            .map(|b| (b.number, b.writable))
            .collect();
        let label = Label {
            entry: self.key.entry,
            flops: self.flops,
        };
        let pipeline = self.gpu.pipeline(&self.key)?;
        self.gpu.append(&Run {
            pipeline: &pipeline,
            bindings: &self.bindings,
            params: &self.params,
            groups: groups.map(|n| n as u32),
            label,
        })
    }
}
