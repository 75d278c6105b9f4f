//! Batch norm over the rows of a matrix, with `shaders/batch_norm.wgsl`.
//!
//! A norm folded with its statistics is a buffer `[4, C]`: scale, shift, mean and `1 / sqrt(var + eps)`.

use super::Gpu;
use super::Slice;
use super::copy::Rows;
use super::kernel::Kernel;
use super::shaders::Shader;
use super::sum::{MIN_ROWS, split};
use crate::error::Result;
use crate::gpu::params::shader_params;

shader_params! {
    /// The sizes, and where the arrays begin in their buffers.
    struct Params of BatchNorm {
        rows: u32,
        channels: u32,
        rows_per_chunk: u32,
        chunks: u32,
        x_start: u32,
        x_stride: u32,
        dy_start: u32,
        dy_stride: u32,
        out_start: u32,
        out_stride: u32,
        gamma_start: u32,
        beta_start: u32,
        mean_start: u32,
        var_start: u32,
        running_mean_start: u32,
        running_var_start: u32,
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

    fn dy(self, dy: &Rows) -> Self {
        Params {
            dy_start: dy.data.start(),
            dy_stride: dy.stride as u32,
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

    fn groups(&self) -> [usize; 3] {
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
        .write(10, &parts)
        .grid(params.groups())?;
    let params = Params {
        mean_start: mean.start(),
        var_start: var.start(),
        ..params
    };
    kernel(gpu, "batch_norm_finish", params)
        .read(1, &x.data)
        .read(8, &parts)
        .write(10, mean)
        .over(channels)
}

/// Folds a norm: computes `[4, channels]` from `gamma`, `beta`, the mean, the biased variance and `eps`.
///
/// # Errors
/// Where the GPU is lost or has no memory.
pub fn fold(
    gpu: &Gpu,
    [gamma, beta]: [&Slice; 2],
    [mean, var]: [&Slice; 2],
    eps: f32,
    channels: usize,
) -> Result<Slice> {
    let folded = Slice::from(gpu.unset(4 * channels)?);
    let params = Params {
        gamma_start: gamma.start(),
        beta_start: beta.start(),
        mean_start: mean.start(),
        var_start: var.start(),
        eps,
        ..Params::new(1, channels)
    };
    kernel(gpu, "batch_norm_fold", params)
        .read(4, gamma)
        .read(5, beta)
        .read(6, mean)
        .read(7, var)
        .write(10, &folded)
        .over(channels)?;
    Ok(folded)
}

/// Computes new running statistics, `[2, channels]`: mean and variance moved by `momentum` towards those of a batch.
/// `unbiased` is the factor that makes the batch's variance unbiased.
///
/// # Errors
/// Where the GPU is lost or has no memory.
pub fn update_running(
    gpu: &Gpu,
    [running_mean, running_var]: [&Slice; 2],
    [mean, var]: [&Slice; 2],
    [momentum, unbiased]: [f32; 2],
    channels: usize,
) -> Result<Slice> {
    let updated = Slice::from(gpu.unset(2 * channels)?);
    let params = Params {
        running_mean_start: running_mean.start(),
        running_var_start: running_var.start(),
        mean_start: mean.start(),
        var_start: var.start(),
        momentum,
        unbiased,
        ..Params::new(1, channels)
    };
    kernel(gpu, "batch_norm_update_running", params)
        .read(6, mean)
        .read(7, var)
        .read(11, running_mean)
        .read(12, running_var)
        .write(10, &updated)
        .over(channels)?;
    Ok(updated)
}

/// Computes `y = scale x + shift`, or with `relu` `y = max(0, scale x + shift)`.
///
/// # Errors
/// Where the GPU is lost.
pub fn forward(
    gpu: &Gpu,
    x: &Rows,
    folded: &Slice,
    relu: bool,
    y: &Rows,
    [rows, channels]: [usize; 2],
) -> Result<()> {
    let params = Params::new(rows, channels).x(x).out(y);
    kernel(gpu, "batch_norm_forward", params)
        .constant("RELU", relu.into())
        .read(1, &x.data)
        .read(3, folded)
        .write(10, &y.data)
        .over(rows * channels)
}

/// The backward pass of a norm, and of the ReLU after it where there is one.
pub struct NormGrad<'a> {
    /// The input.
    pub x: &'a Rows,
    /// The gradient with respect to the output.
    pub dy: &'a Rows,
    /// Rows and channels of both.
    pub sizes: [usize; 2],
    /// The norm, folded: `[4, channels]`.
    pub folded: &'a Slice,
    /// Whether ReLU follows.
    pub relu: bool,
}

impl NormGrad<'_> {
    /// Computes `[2, channels]`: the gradients with respect to gamma and beta.
    ///
    /// # Errors
    /// Where the GPU is lost or has no memory.
    pub fn sums(&self, gpu: &Gpu) -> Result<Slice> {
        let [rows, channels] = self.sizes;
        let params = Params::new(rows, channels).x(self.x).dy(self.dy);
        let parts = Slice::from(gpu.unset(params.chunks as usize * 2 * channels)?);
        kernel(gpu, "batch_norm_grad_sums", params)
            .constant("RELU", self.relu.into())
            .read(1, &self.x.data)
            .read(2, &self.dy.data)
            .read(3, self.folded)
            .write(10, &parts)
            .grid(params.groups())?;
        if params.chunks == 1 {
            return Ok(parts);
        }
        let sums = Slice::from(gpu.unset(2 * channels)?);
        kernel(gpu, "batch_norm_add_parts", params)
            .read(8, &parts)
            .write(10, &sums)
            .over(2 * channels)?;
        Ok(sums)
    }

    /// Writes the gradient with respect to the input to `dx`, or with `add` adds it to the contents.
    ///
    /// With the statistics of the mini-batch, pass the [`sums`](NormGrad::sums). Running statistics are constants: pass
    /// `None`.
    ///
    /// # Errors
    /// Where the GPU is lost.
    pub fn input(&self, gpu: &Gpu, sums: Option<&Slice>, dx: &Rows, add: bool) -> Result<()> {
        let [rows, channels] = self.sizes;
        let params = Params::new(rows, channels).x(self.x).dy(self.dy).out(dx);
        kernel(gpu, "batch_norm_grad_input", params)
            .constant("RELU", self.relu.into())
            .constant("BATCH", sums.is_some().into())
            .constant("ACCUMULATE", add.into())
            .read(1, &self.x.data)
            .read(2, &self.dy.data)
            .read(3, self.folded)
            // Not read with running statistics, but every binding of the entry point needs a buffer.
            .read(9, sums.unwrap_or(self.folded))
            .write(10, &dx.data)
            .over(rows * channels)
    }
}
