//! The elementwise part of an LSTM's step, after its matrix products, and its gradient, with `shaders/lstm.wgsl`.
//!
//! The shader has the equations. Every operation with such a cell dispatches it here. The pre-activations are called `a`,
//! as in `ops::lstm`; `ops::attention_lstm` calls them `a'`.

use std::sync::Arc;

use super::Gpu;
use super::Slice;
use super::copy::Rows;
use super::shaders::Shader;
use crate::error::Result;
use crate::gpu::params::shader_params;

shader_params! {
    /// The sizes, and where the rows of each matrix begin in their buffers.
    struct Params of Lstm {
        batch: u32,
        hidden: u32,
        gates_start: u32,
        gates_stride: u32,
        h_new_start: u32,
        h_new_stride: u32,
        c_new_start: u32,
        c_new_stride: u32,
        c_start: u32,
        c_stride: u32,
        dy_start: u32,
        dy_stride: u32,
    }
}

// Where the shader finds the previous cell state: the values of its constant PREVIOUS_CELLS.
/// Nowhere, because it is zero.
const ZERO: u32 = 0;
/// In a buffer of its own.
const IN_C: u32 = 1;
/// In the buffer that receives the new state.
const IN_STATES: u32 = 2;

/// One step of `batch` sequences with `hidden` cells. Its matrices have one row for each sequence.
pub struct Step {
    /// `N`
    pub batch: usize,
    /// `H`
    pub hidden: usize,
    /// `[N, 4H]`: `a`, replaced by the gates i, f, g, o; in the backward pass the gates, replaced by `da`.
    pub gates: Rows,
    /// `[N, H]`: `h'`, in the same buffer as `c'`.
    pub h_new: Rows,
    /// `[N, H]`: `c'`.
    pub c_new: Rows,
    /// `[N, H]`: `c`, the previous cell state, in the buffer of `c'` or another one; zero if there is none.
    pub c: Option<Rows>,
}

/// The gradients that reach a step.
pub struct StepGradients<'a> {
    /// `[N, H]`: the gradient with respect to `h'` from the tape.
    pub dy: &'a Rows,
    /// `[N, H]`, contiguous from the beginning of its buffer: `dh` of the next step.
    pub dh: &'a Slice,
    /// Whether there is no next step, and `dh` has no contents.
    pub is_last: bool,
    /// `[N, H]`, contiguous from the beginning of its buffer: `dc'`, which is replaced by `dc`.
    pub dc: &'a Slice,
}

impl Step {
    fn params(&self) -> Params {
        Params {
            batch: self.batch as u32,
            hidden: self.hidden as u32,
            gates_start: self.gates.data.start(),
            gates_stride: self.gates.stride as u32,
            h_new_start: self.h_new.data.start(),
            h_new_stride: self.h_new.stride as u32,
            c_new_start: self.c_new.data.start(),
            c_new_stride: self.c_new.stride as u32,
            c_start: self.c.as_ref().map_or(0, |c| c.data.start()),
            c_stride: self.c.as_ref().map_or(0, |c| c.stride as u32),
            ..Params::default()
        }
    }
}

/// Replaces `a` by the gates and computes `h'` and `c'`. `unwritten` is any buffer that the step does not write: it is bound
/// in place of `c` where the shader does not read that binding.
///
/// # Errors
/// Where the GPU is lost.
pub fn forward(gpu: &Gpu, step: &Step, unwritten: &Slice) -> Result<()> {
    let (previous_cells, c) = match &step.c {
        None => (ZERO, unwritten),
        Some(c) if Arc::ptr_eq(&c.data.buffer, &step.c_new.data.buffer) => (IN_STATES, unwritten),
        Some(c) => (IN_C, &c.data),
    };
    gpu.kernel(Shader::Lstm, "lstm_forward")
        .constant("PREVIOUS_CELLS", previous_cells)
        .params(&step.params())
        .write(1, &step.gates.data)
        .read(2, c)
        .write(3, &step.c_new.data)
        .over(step.batch * step.hidden)
}

/// Replaces the gates by `da`, and `dc'` by `dc`.
///
/// # Errors
/// Where the GPU is lost.
pub fn backward(gpu: &Gpu, step: &Step, gradients: &StepGradients) -> Result<()> {
    let (previous_cells, c) = match &step.c {
        None => (ZERO, &step.c_new.data),
        Some(c) => (IN_C, &c.data),
    };
    gpu.kernel(Shader::Lstm, "lstm_backward")
        .constant("PREVIOUS_CELLS", previous_cells)
        .constant("IS_LAST", u32::from(gradients.is_last))
        .params(&Params {
            dy_start: gradients.dy.data.start(),
            dy_stride: gradients.dy.stride as u32,
            ..step.params()
        })
        .write(1, &step.gates.data)
        .read(2, c)
        .read(4, &step.c_new.data)
        .read(5, &gradients.dy.data)
        .read(6, gradients.dh)
        .write(7, gradients.dc)
        .over(step.batch * step.hidden)
}
