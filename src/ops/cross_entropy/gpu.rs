//! The kernels of `shaders/cross_entropy.wgsl`: a workgroup takes one row.

use super::Job;
use crate::error::Result;
use crate::gpu::{Gpu, Shader, Slice, sum};
use crate::tensor::Tensor;

// A row that does not count.
const IGNORED: u32 = u32::MAX;

/// The weighted mean of the rows' losses over the `counted` ones, and `w (p - q)` where it is wanted.
pub(crate) fn forward(
    gpu: &Gpu,
    logits: &Tensor,
    job: Job,
    counted: usize,
) -> Result<(Tensor, Option<Slice>)> {
    let Job {
        classes,
        targets,
        weights,
        options,
        ..
    } = job;
    let rows = targets.len();
    let classes_of_rows: Vec<u32> = targets
        .iter()
        .map(|&t| {
            if Some(t) == options.ignore_index {
                IGNORED
            } else {
                t as u32
            }
        })
        .collect();
    let targets = Slice::from(gpu.upload(&classes_of_rows)?);
    let weights = Slice::from(gpu.upload(weights)?);
    let (x, wanted) = (logits.on(gpu)?, logits.is_tracked());
    let residual = Slice::from(gpu.unset(if wanted { logits.len() } else { 1 })?);
    let losses = Slice::from(gpu.unset(rows)?);
    gpu.kernel(Shader::CrossEntropy, "cross_entropy_forward")
        .constant("RESIDUAL", wanted.into())
        .params(&[rows as u32, classes as u32, x.start()])
        .params(&[options.label_smoothing])
        .params(&[0u32; 3])
        .read(1, &x)
        .read(2, &targets)
        .write(4, &residual)
        .write(5, &losses)
        .read(6, &weights)
        .groups(rows)?;
    let loss = sum::total(gpu, &losses, rows, (1.0 / counted as f64) as f32)?;
    Ok((Tensor::from_gpu(loss, &[]), wanted.then_some(residual)))
}

/// `dx = dloss w (p - q) / counted`, of these dimensions.
pub(crate) fn backward(
    gpu: &Gpu,
    residual: &Slice,
    dloss: &Tensor,
    dims: &[usize],
    counted: usize,
) -> Result<Tensor> {
    let len: usize = dims.iter().product();
    let (dx, grad) = (Slice::from(gpu.unset(len)?), dloss.on(gpu)?);
    gpu.kernel(Shader::CrossEntropy, "cross_entropy_backward")
        .params(&[0, 0, 0, 0, len as u32, grad.start()])
        .params(&[(1.0 / counted as f64) as f32])
        .read(1, residual)
        .read(3, &grad)
        .write(4, &dx)
        .over(len)?;
    Ok(Tensor::from_gpu(dx.buffer, dims))
}
