//! The same on a graphics device, by `shaders/cross_entropy.wgsl`: a workgroup a row.

use super::CrossEntropy;
use crate::error::Result;
use crate::gpu::{Gpu, Shader, Slice, sum};
use crate::tensor::Tensor;

// A row that does not count.
const IGNORED: u32 = u32::MAX;

/// The mean of the rows' losses over the `counted` ones, and `p - q` where it is wanted.
pub(crate) fn forward(
    gpu: &Gpu,
    logits: &Tensor,
    targets: &[usize],
    options: CrossEntropy,
    counted: usize,
) -> Result<(Tensor, Option<Slice>)> {
    let rows = targets.len();
    let classes = logits.dims().last().copied().unwrap_or(0);
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
        .groups(rows)?;
    let loss = sum::total(gpu, &losses, rows, (1.0 / counted as f64) as f32)?;
    Ok((Tensor::from_gpu(loss, &[]), wanted.then_some(residual)))
}

/// `dx = dloss (p - q) / counted`, of these dimensions.
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
