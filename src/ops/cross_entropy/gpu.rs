//! Dispatches `shaders/cross_entropy.wgsl`. One workgroup computes one row.

use super::Inputs;
use crate::error::Result;
use crate::gpu::{Gpu, Shader, Slice, sum};
use crate::tensor::Tensor;

// The target of a row that is ignored.
const IGNORED: u32 = u32::MAX;

/// The weighted mean of the losses of the `counted` rows, and `w (p - q)` if the logits are tracked.
pub(crate) fn forward(
    gpu: &Gpu,
    logits: &Tensor,
    inputs: Inputs,
    counted: usize,
) -> Result<(Tensor, Option<Slice>)> {
    let Inputs {
        classes,
        targets,
        weights,
        options,
        ..
    } = inputs;
    let rows = targets.len();
    let classes_or_ignored: Vec<u32> = targets
        .iter()
        .map(|&t| {
            if Some(t) == options.ignore_index {
                IGNORED
            } else {
                t as u32
            }
        })
        .collect();
    let targets = Slice::from(gpu.upload(&classes_or_ignored)?);
    let weights = Slice::from(gpu.upload(weights)?);
    let (x, tracked) = (logits.on(gpu)?, logits.is_tracked());
    let residual = Slice::from(gpu.unset(if tracked { logits.len() } else { 1 })?);
    let losses = Slice::from(gpu.unset(rows)?);
    gpu.kernel(Shader::CrossEntropy, "cross_entropy_forward")
        .constant("RESIDUAL", tracked.into())
        .words(&[rows as u32, classes as u32, x.start()])
        .words(&[options.label_smoothing])
        .words(&[0u32; 3])
        .read(1, &x)
        .read(2, &targets)
        .write(4, &residual)
        .write(5, &losses)
        .read(6, &weights)
        .groups(rows)?;
    let loss = sum::total(gpu, &losses, rows, (1.0 / counted as f64) as f32)?;
    Ok((Tensor::from_gpu(loss, &[]), tracked.then_some(residual)))
}

/// `dx = dloss w (p - q) / counted`, with dimensions `dims`.
pub(crate) fn backward(
    gpu: &Gpu,
    residual: &Slice,
    dloss: &Tensor,
    dims: &[usize],
    counted: usize,
) -> Result<Tensor> {
    let len: usize = dims.iter().product();
    let (dx, dloss) = (Slice::from(gpu.unset(len)?), dloss.on(gpu)?);
    gpu.kernel(Shader::CrossEntropy, "cross_entropy_backward")
        .words(&[0, 0, 0, 0, len as u32, dloss.start()])
        .words(&[(1.0 / counted as f64) as f32])
        .read(1, residual)
        .read(3, &dloss)
        .write(4, &dx)
        .over(len)?;
    Ok(Tensor::from_gpu(dx.buffer, dims))
}
