//! Dispatches `shaders/cross_entropy.wgsl`. One workgroup computes one row.

use super::{Job, Saved};
use crate::error::Result;
use crate::gpu::params::shader_params;
use crate::gpu::{Gpu, Shader, Slice, sum};
use crate::tensor::Tensor;

shader_params! {
    /// The sizes, where the arrays begin in their buffers, the label smoothing, and `1 / R`.
    struct Params of CrossEntropy {
        rows: u32,
        classes: u32,
        x_start: u32,
        smoothing: f32,
        len: u32,
        dloss_start: u32,
        factor: f32,
    }
}

// The target of a row that is ignored.
const IGNORED: u32 = u32::MAX;

/// `loss = 1/R sum_r w[r] (-sum_v q[r][v] ln p[r][v])`, and `w (p - q)` if the logits are tracked.
pub(crate) fn forward(gpu: &Gpu, job: &Job) -> Result<(Tensor, Option<Saved>)> {
    let (rows, counted) = (job.targets.len(), job.counted);
    let classes_or_ignored: Vec<u32> = job
        .targets
        .iter()
        .map(|&target| match Some(target) == job.options.ignore_index {
            true => IGNORED,
            false => target as u32,
        })
        .collect();
    let targets = Slice::from(gpu.upload(&classes_or_ignored)?);
    let weights = Slice::from(gpu.upload(job.weights)?);
    let (x, tracked) = (job.logits.on(gpu)?, job.logits.is_tracked());
    let residual = Slice::from(gpu.unset(if tracked { job.logits.len() } else { 1 })?);
    let losses = Slice::from(gpu.unset(rows)?);
    gpu.kernel(Shader::CrossEntropy, "cross_entropy_forward")
        .constant("RESIDUAL", tracked.into())
        .params(&Params {
            rows: rows as u32,
            classes: job.classes as u32,
            x_start: x.start(),
            smoothing: job.options.label_smoothing,
            ..Params::default()
        })
        .read(1, &x)
        .read(2, &targets)
        .write(4, &residual)
        .write(5, &losses)
        .read(6, &weights)
        .groups(rows)?;
    let loss = sum::total(gpu, &losses, rows, (1.0 / counted as f64) as f32)?;
    let saved = tracked.then(|| Saved {
        residual: Tensor::from_gpu(residual.buffer, job.logits.dims()),
        counted,
    });
    Ok((Tensor::from_gpu(loss, &[]), saved))
}

/// `dx = dloss / R w (p - q)`
pub(crate) fn backward(gpu: &Gpu, saved: Saved, dloss: &Tensor) -> Result<Tensor> {
    let (len, dims) = (saved.residual.len(), saved.residual.dims());
    let (residual, dloss) = (saved.residual.on(gpu)?, dloss.on(gpu)?);
    let dx = Slice::from(gpu.unset(len)?);
    gpu.kernel(Shader::CrossEntropy, "cross_entropy_backward")
        .params(&Params {
            len: len as u32,
            dloss_start: dloss.start(),
            factor: (1.0 / saved.counted as f64) as f32,
            ..Params::default()
        })
        .read(1, &residual)
        .read(3, &dloss)
        .write(4, &dx)
        .over(len)?;
    Ok(Tensor::from_gpu(dx.buffer, dims))
}
