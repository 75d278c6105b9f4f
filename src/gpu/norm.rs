//! Batch norm over the rows of a matrix, with `shaders/batch_norm.wgsl`.
//!
//! The state of a norm is a buffer `[4, C]`: scale, shift, mean and `1 / sqrt(var + eps)`.

use std::sync::Arc;

use super::Gpu;
use super::buffer::{Buffer, Slice};
use super::copy::Rows;
use super::kernel::Kernel;
use super::shaders::Shader;
use super::sum::{MIN_ROWS, split};
use crate::error::Result;
use crate::shader_params;

shader_params! {
    /// The sizes, and where the arrays begin in their buffers.
    struct Params of BatchNorm {
        rows: u32,
        channels: u32,
        rows_per_chunk: u32,
        chunks: u32,
        x_start: u32,
        x_stride: u32,
        grad_start: u32,
        grad_stride: u32,
        out_start: u32,
        out_stride: u32,
        gamma_start: u32,
        beta_start: u32,
        mean_start: u32,
        var_start: u32,
        momentum: f32,
        unbiased: f32,
        eps: f32,
    }
}

impl Params {
    fn new(rows: usize, channels: usize) -> Self {
        let [chunks, length] = split(rows, MIN_ROWS);
        Params {
            rows: rows as u32,
            channels: channels as u32,
            rows_per_chunk: length as u32,
            chunks: chunks as u32,
            ..Params::default()
        }
    }

    fn x(self, x: &Rows) -> Self {
        Params {
            x_start: x.data.start(),
            x_stride: x.stride as u32,
            ..self
        }
    }

    fn grad(self, grad: &Rows) -> Self {
        Params {
            grad_start: grad.data.start(),
            grad_stride: grad.stride as u32,
            ..self
        }
    }

    fn out(self, out: &Rows) -> Self {
        Params {
            out_start: out.data.start(),
            out_stride: out.stride as u32,
            ..self
        }
    }

    fn chunks(&self) -> [usize; 3] {
        [self.channels.div_ceil(32) as usize, self.chunks as usize, 1]
    }
}

fn kernel<'a>(gpu: &'a Gpu, entry: &'static str, params: Params) -> Kernel<'a> {
    gpu.kernel(Shader::BatchNorm, entry).params(&params)
}

/// Computes means and biased variances of `channels` channels over `rows` rows. `mean` and `var` lie in one buffer.
///
/// # Errors
/// Where the GPU is lost or has no memory.
pub fn moments(
    gpu: &Gpu,
    x: &Rows,
    [rows, channels]: [usize; 2],
    mean: &Slice,
    var: &Slice,
) -> Result<()> {
    let params = Params::new(rows, channels).x(x);
    let parts = Slice::from(gpu.unset(params.chunks as usize * 2 * channels)?);
    kernel(gpu, "batch_norm_moments", params)
        .read(1, &x.data)
        .write(9, &parts)
        .grid(params.chunks())?;
    let params = Params {
        mean_start: mean.start(),
        var_start: var.start(),
        ..params
    };
    kernel(gpu, "batch_norm_finish", params)
        .read(1, &x.data)
        .read(2, &parts)
        .write(9, mean)
        .over(channels)
}

/// The weights and statistics of a norm, each with one number per channel.
pub struct Parts<'a> {
    /// The weight.
    pub gamma: &'a Slice,
    /// The bias.
    pub beta: &'a Slice,
    /// The mean.
    pub mean: &'a Slice,
    /// The biased variance.
    pub var: &'a Slice,
    /// Added to the variance before the root.
    pub eps: f32,
}

/// Computes the state of a norm from its weights and statistics.
///
/// # Errors
/// Where the GPU is lost or has no memory.
pub fn fold(gpu: &Gpu, parts: &Parts, channels: usize) -> Result<Slice> {
    let state = Slice::from(gpu.unset(4 * channels)?);
    let params = Params {
        gamma_start: parts.gamma.start(),
        beta_start: parts.beta.start(),
        mean_start: parts.mean.start(),
        var_start: parts.var.start(),
        eps: parts.eps,
        ..Params::new(1, channels)
    };
    kernel(gpu, "batch_norm_fold", params)
        .read(4, parts.gamma)
        .read(5, parts.beta)
        .read(6, parts.mean)
        .read(7, parts.var)
        .write(9, &state)
        .over(channels)?;
    Ok(state)
}

/// Computes new running statistics, `[2, channels]`: mean and variance moved by `momentum` towards those of a batch.
/// `unbiased` is the factor that makes the batch's variance unbiased.
///
/// # Errors
/// Where the GPU is lost or has no memory.
pub fn update_running(
    gpu: &Gpu,
    running: [&Slice; 2],
    batch: [&Slice; 2],
    [momentum, unbiased]: [f32; 2],
    channels: usize,
) -> Result<Arc<Buffer>> {
    let out = Slice::from(gpu.unset(2 * channels)?);
    let params = Params {
        x_start: running[0].start(),
        grad_start: running[1].start(),
        mean_start: batch[0].start(),
        var_start: batch[1].start(),
        momentum,
        unbiased,
        ..Params::new(1, channels)
    };
    kernel(gpu, "batch_norm_update_running", params)
        .read(1, running[0])
        .read(2, running[1])
        .read(6, batch[0])
        .read(7, batch[1])
        .write(9, &out)
        .over(channels)?;
    Ok(out.buffer)
}

/// Computes `out = x scale + shift`, or with `relu` the larger of that and zero.
///
/// # Errors
/// Where the GPU is lost.
pub fn forward(
    gpu: &Gpu,
    x: &Rows,
    state: &Slice,
    relu: bool,
    out: &Rows,
    [rows, channels]: [usize; 2],
) -> Result<()> {
    kernel(
        gpu,
        "batch_norm_forward",
        Params::new(rows, channels).x(x).out(out),
    )
    .constant("RELU", relu.into())
    .read(1, &x.data)
    .read(3, state)
    .write(9, &out.data)
    .over(rows * channels)
}

/// The backward pass of a norm.
pub struct Backward<'a> {
    /// The input of the norm.
    pub x: &'a Rows,
    /// Its state.
    pub state: &'a Slice,
    /// Whether a ReLU follows it.
    pub relu: bool,
    /// Whether its statistics were the batch's own.
    pub batch: bool,
    /// Rows and channels.
    pub sizes: [usize; 2],
}

impl Backward<'_> {
    /// Computes the gradients with respect to beta and gamma, `[2, channels]`, from `grad`, the gradient with respect to the output.
    ///
    /// # Errors
    /// Where the GPU is lost or has no memory.
    pub fn sums(&self, gpu: &Gpu, grad: &Rows) -> Result<Slice> {
        let [rows, channels] = self.sizes;
        let params = Params::new(rows, channels).x(self.x).grad(grad);
        let parts = Slice::from(gpu.unset(params.chunks as usize * 2 * channels)?);
        kernel(gpu, "batch_norm_grad_sums", params)
            .constant("RELU", self.relu.into())
            .read(1, &self.x.data)
            .read(2, &grad.data)
            .read(3, self.state)
            .write(9, &parts)
            .grid(params.chunks())?;
        if params.chunks == 1 {
            return Ok(parts);
        }
        let sums = Slice::from(gpu.unset(2 * channels)?);
        kernel(gpu, "batch_norm_add_parts", params)
            .read(2, &parts)
            .write(9, &sums)
            .over(2 * channels)?;
        Ok(sums)
    }

    /// Writes the gradient with respect to the input to `out`, or with `add` adds it to the contents.
    ///
    /// # Errors
    /// Where the GPU is lost.
    pub fn input(&self, gpu: &Gpu, grad: &Rows, sums: &Slice, out: &Rows, add: bool) -> Result<()> {
        let [rows, channels] = self.sizes;
        let params = Params::new(rows, channels).x(self.x).grad(grad).out(out);
        kernel(gpu, "batch_norm_grad_input", params)
            .constant("RELU", self.relu.into())
            .constant("BATCH", self.batch.into())
            .constant("ACCUMULATE", add.into())
            .read(1, &self.x.data)
            .read(2, &grad.data)
            .read(3, self.state)
            .read(8, sums)
            .write(9, &out.data)
            .over(rows * channels)
    }
}
