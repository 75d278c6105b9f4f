//! One dispatch of a shader's entry point.
//!
//! ```text
//! gpu.kernel(Shader::Relu, "relu_select")
//!     .params(&Params { len, .. })          the contents of binding 0, the uniform block
//!     .read(1, &x)                          the buffers, by their binding numbers in the shader
//!     .read(2, &x)
//!     .write(3, &y)
//!     .over(n)?                             one invocation for each of n elements
//! ```
//!
//! A tensor may begin anywhere in its buffer; its first index is a parameter like any other.

use super::Gpu;
use super::device::lock;
use super::params::Params;
use super::pipelines::{PARAMS, PipelineKey};
use super::shaders::{Shader, Variant};
use super::stream::{Bound, Dispatch};
use super::timing::Label;
use super::{Buffer, Slice};
use crate::error::Result;

/// Invocations of a workgroup where each computes one element; shaders write it as the literal 256.
pub const THREADS: usize = 256;

/// A dispatch that is being built.
#[must_use = "nothing is dispatched before `over`, `groups` or `grid` is called"]
pub struct Kernel<'a> {
    gpu: &'a Gpu,
    key: PipelineKey,
    bindings: Vec<Bound<'a>>,
    params: Vec<u8>,
    flops: f64,
}

impl Gpu {
    /// Begins a dispatch of `entry` of `shader`.
    pub fn kernel(&self, shader: Shader, entry: &'static str) -> Kernel<'_> {
        Kernel {
            gpu: self,
            key: PipelineKey {
                shader,
                variant: Variant::Plain,
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
    /// Uses a variant of the shader instead of its plain text.
    pub fn variant(mut self, variant: Variant) -> Self {
        self.key.variant = variant;
        self
    }

    /// Sets an `override` of the shader.
    pub fn constant(mut self, name: &'static str, value: u32) -> Self {
        self.key.constants.push((name, value));
        self
    }

    /// Sets the contents of the shader's uniform block.
    pub fn params<P: Params>(mut self, params: &P) -> Self {
        assert!(
            P::SHADERS.contains(&self.key.shader),
            "{} takes other parameters",
            self.key.entry
        );
        self.params = bytemuck::bytes_of(params).to_vec();
        self
    }

    /// Binds a buffer that is read.
    pub fn read(self, number: u32, slice: &'a Slice) -> Self {
        self.bind(number, slice, false)
    }

    /// Binds a buffer that is written, and may be read.
    pub fn write(self, number: u32, slice: &'a Slice) -> Self {
        self.bind(number, slice, true)
    }

    fn bind(mut self, number: u32, slice: &'a Slice, writable: bool) -> Self {
        let buffer: &Buffer = &slice.buffer;
        self.bindings.push(Bound {
            number,
            raw: buffer.raw(),
            last_use: &buffer.last_use,
        });
        self.key.writable.push((number, writable));
        self
    }

    /// Sets the number of floating-point operations, for the table of timings.
    pub fn flops(mut self, flops: f64) -> Self {
        self.flops = flops;
        self
    }

    /// Dispatches one invocation for each of `elements`, in workgroups of [`THREADS`].
    ///
    /// # Errors
    /// Where the shader does not compile, the GPU is lost, or the workgroups do not fit the GPU's limits.
    pub fn over(self, elements: usize) -> Result<()> {
        self.groups(elements.div_ceil(THREADS))
    }

    /// Dispatches `groups` workgroups. Where they are too many for one axis, they are laid out in a rectangle: a workgroup's
    /// number is `y * width + x`, and workgroups beyond the last do nothing.
    ///
    /// # Errors
    /// The errors of [`Kernel::over`].
    pub fn groups(self, groups: usize) -> Result<()> {
        let width = groups.min(self.gpu.max_groups()).max(1);
        self.grid([width, groups.div_ceil(width), 1])
    }

    /// Dispatches this many workgroups along each axis.
    ///
    /// # Errors
    /// The errors of [`Kernel::over`].
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
        self.key.writable.sort_unstable();
        let label = Label {
            entry: self.key.entry,
            flops: self.flops,
        };
        self.gpu.check()?;
        let pipeline = lock(&self.gpu.0.pipelines)
            .get(&self.gpu.0.device, &self.key)
            .map_err(|(what, error)| self.gpu.error(what).because(error.to_string()))?;
        self.gpu.append(&Dispatch {
            pipeline: &pipeline,
            bindings: &self.bindings,
            params: &self.params,
            groups: groups.map(|n| n as u32),
            label,
        })
    }
}
