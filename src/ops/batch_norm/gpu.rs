//! Dispatches `shaders/batch_norm.wgsl`.
//!
//! A norm folded with its statistics is a buffer `[4, C]`: scale, shift, mean and `1 / sqrt(var + eps)`.

use super::{BETA, Folded, GAMMA, Job, Moments, Norm, X};
use crate::error::Result;
use crate::gpu::copy::Rows;
use crate::gpu::kernel::Kernel;
use crate::gpu::params::shader_params;
use crate::gpu::shaders::Shader;
use crate::gpu::sum;
use crate::gpu::{Gpu, Slice};
use crate::tensor::{Place, Tensor, Wanted};

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
        let [chunks, length] = sum::chunks_of_rows(rows);
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

/// Splits `[2, C]` into two tensors `[C]`.
fn halves(both: Slice, channels: usize) -> Result<[Tensor; 2]> {
    let both = Tensor::from_gpu(both.buffer, &[2, channels]);
    Ok([both.index(0)?, both.index(1)?])
}

/// Computes means and biased variances of `channels` channels over `rows` rows. `mean` and `var` lie in one buffer.
///
/// # Errors
/// Where the GPU is lost or has no memory.
pub(crate) fn moments(
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

/// `scale = gamma / sqrt(var + eps)` and `shift = beta - mean scale`, and the values that the gradient needs.
pub(crate) fn fold(gpu: &Gpu, norm: &Norm, [mean, var]: [&Slice; 2]) -> Result<Folded> {
    let (gamma, beta) = (norm.gamma.on(gpu)?, norm.beta.on(gpu)?);
    let channels = norm.gamma.len();
    let folded = Slice::from(gpu.unset(4 * channels)?);
    let params = Params {
        gamma_start: gamma.start(),
        beta_start: beta.start(),
        mean_start: mean.start(),
        var_start: var.start(),
        eps: norm.eps,
        ..Params::new(1, channels)
    };
    kernel(gpu, "batch_norm_fold", params)
        .read(4, &gamma)
        .read(5, &beta)
        .read(6, mean)
        .read(7, var)
        .write(10, &folded)
        .over(channels)?;
    Ok(Folded {
        values: Tensor::from_gpu(folded.buffer, &[4, channels]),
        batch: norm.is_batch(),
    })
}

/// Folds `norm` for the pixels `x`; also returns the moments of the mini-batch if the norm uses them.
pub(crate) fn fold_for(
    gpu: &Gpu,
    norm: &Norm,
    x: &Rows,
    rows: usize,
) -> Result<(Folded, Option<Moments>)> {
    if let Some(folded) = norm.running(&Place::Gpu(gpu.clone()))? {
        return Ok((folded, None));
    }
    let channels = norm.gamma.len();
    let mean = Slice::from(gpu.unset(2 * channels)?);
    let var = mean.after(channels);
    moments(gpu, x, [rows, channels], &mean, &var)?;
    let folded = fold(gpu, norm, [&mean, &var])?;
    let [mean, var] = halves(mean, channels)?;
    Ok((folded, Some(Moments { mean, var })))
}

impl Folded {
    /// Scale, shift, mean and `1 / sqrt(var + eps)`: `[4, C]`.
    pub(crate) fn on(&self, gpu: &Gpu) -> Result<Slice> {
        self.values.on(gpu)
    }
}

/// `y = scale x + shift`, or with ReLU `y = max(0, scale x + shift)`
pub(crate) fn forward(
    gpu: &Gpu,
    job: &Job,
    norm: &Norm,
) -> Result<(Tensor, Folded, Option<Moments>)> {
    let x = Rows::new(job.x.on(gpu)?, job.channels);
    let (folded, moments) = fold_for(gpu, norm, &x, job.rows)?;
    let y = Rows::new(gpu.unset(job.x.len())?, job.channels);
    let params = Params::new(job.rows, job.channels).x(&x).out(&y);
    kernel(gpu, "batch_norm_forward", params)
        .constant("RELU", job.relu.into())
        .read(1, &x.data)
        .read(3, &folded.on(gpu)?)
        .write(10, &y.data)
        .over(job.rows * job.channels)?;
    let y = Tensor::from_gpu(y.data.buffer, job.x.dims());
    Ok((y, folded, moments))
}

/// `dx`, `dgamma` and `dbeta`
pub(crate) fn backward(
    gpu: &Gpu,
    job: &Job,
    folded: &Folded,
    dy: &Tensor,
    wanted: Wanted,
) -> Result<Vec<Option<Tensor>>> {
    let unset = || gpu.unset(job.x.len());
    let dx = wanted.has(X).then(unset).transpose()?;
    let dx = dx.map(|dx| Rows::new(dx, job.channels));
    let (x, dy) = (
        Rows::new(job.x.on(gpu)?, job.channels),
        Rows::new(dy.on(gpu)?, job.channels),
    );
    let sums = grads(
        gpu,
        [&x, &dy],
        folded,
        job.relu,
        job.rows,
        dx.as_ref(),
        false,
    )?;
    let [dgamma, dbeta] = sums;
    Ok(vec![
        dx.map(|dx| Tensor::from_gpu(dx.data.buffer, job.x.dims())),
        wanted.has(GAMMA).then_some(dgamma),
        wanted.has(BETA).then_some(dbeta),
    ])
}

/// `dgamma = sum dz xhat` and `dbeta = sum dz`. Writes `scale (dz - dbeta / M - xhat dgamma / M)` to `dx`, or with running
/// statistics `scale dz`; with `add` it is added to the contents.
pub(crate) fn grads(
    gpu: &Gpu,
    [x, dy]: [&Rows; 2],
    folded: &Folded,
    relu: bool,
    rows: usize,
    dx: Option<&Rows>,
    add: bool,
) -> Result<[Tensor; 2]> {
    let channels = folded.channels();
    let batch = folded.batch;
    let folded = folded.on(gpu)?;
    let params = Params::new(rows, channels).x(x).dy(dy);
    let parts = Slice::from(gpu.unset(params.chunks as usize * 2 * channels)?);
    kernel(gpu, "batch_norm_grad_sums", params)
        .constant("RELU", relu.into())
        .read(1, &x.data)
        .read(2, &dy.data)
        .read(3, &folded)
        .write(10, &parts)
        .grid(params.groups())?;
    let sums = match params.chunks {
        1 => parts,
        _ => {
            let sums = Slice::from(gpu.unset(2 * channels)?);
            kernel(gpu, "batch_norm_add_parts", params)
                .read(8, &parts)
                .write(10, &sums)
                .over(2 * channels)?;
            sums
        }
    };
    if let Some(dx) = dx {
        kernel(gpu, "batch_norm_grad_input", params.out(dx))
            .constant("RELU", relu.into())
            .constant("BATCH", batch.into())
            .constant("ACCUMULATE", add.into())
            .read(1, &x.data)
            .read(2, &dy.data)
            .read(3, &folded)
            // Not used with running statistics.
            .read(9, &sums)
            .write(10, &dx.data)
            .over(rows * channels)?;
    }
    halves(sums, channels)
}

/// `running = (1 - momentum) running + momentum batch`, with the variance of the batch times `unbiased`
pub(super) fn update_running(
    gpu: &Gpu,
    batch: &Moments,
    [mean, var]: [&mut Tensor; 2],
    momentum: f32,
    unbiased: f32,
) -> Result<()> {
    let channels = batch.mean.len();
    let [running_mean, running_var] = [mean.on(gpu)?, var.on(gpu)?];
    let [new_mean, new_var] = [batch.mean.on(gpu)?, batch.var.on(gpu)?];
    let updated = Slice::from(gpu.unset(2 * channels)?);
    let params = Params {
        running_mean_start: running_mean.start(),
        running_var_start: running_var.start(),
        mean_start: new_mean.start(),
        var_start: new_var.start(),
        momentum,
        unbiased,
        ..Params::new(1, channels)
    };
    kernel(gpu, "batch_norm_update_running", params)
        .read(6, &new_mean)
        .read(7, &new_var)
        .read(11, &running_mean)
        .read(12, &running_var)
        .write(10, &updated)
        .over(channels)?;
    [*mean, *var] = halves(updated, channels)?;
    Ok(())
}
