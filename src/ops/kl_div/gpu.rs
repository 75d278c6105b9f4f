//! Dispatches `shaders/kl_div.wgsl`. One workgroup computes one row.

use crate::error::Result;
use crate::gpu::{Gpu, Shader, Slice, sum};
use crate::tensor::Tensor;

/// `T^2` times the mean of the rows' divergences, and `q - p` if the student's logits are tracked.
pub(crate) fn forward(
    gpu: &Gpu,
    student: &Tensor,
    teacher: &Tensor,
    temperature: f32,
) -> Result<(Tensor, Option<Slice>)> {
    let classes = student.dims().last().copied().unwrap_or(1);
    let rows = student.len() / classes;
    let (x, t, tracked) = (student.on(gpu)?, teacher.on(gpu)?, student.is_tracked());
    let residual = Slice::from(gpu.unset(if tracked { student.len() } else { 1 })?);
    let losses = Slice::from(gpu.unset(rows)?);
    gpu.kernel(Shader::KlDiv, "kl_div_forward")
        .constant("RESIDUAL", tracked.into())
        .words(&[rows as u32, classes as u32, x.start(), t.start()])
        .words(&[1.0 / temperature])
        .words(&[0u32; 3])
        .read(1, &x)
        .read(2, &t)
        .write(4, &residual)
        .write(5, &losses)
        .groups(rows)?;
    let square = f64::from(temperature) * f64::from(temperature);
    let loss = sum::total(gpu, &losses, rows, (square / rows as f64) as f32)?;
    Ok((Tensor::from_gpu(loss, &[]), tracked.then_some(residual)))
}

/// `ds = dloss T (q - p) / rows`, with dimensions `dims`.
pub(crate) fn backward(
    gpu: &Gpu,
    residual: &Slice,
    dloss: &Tensor,
    dims: &[usize],
    temperature: f32,
) -> Result<Tensor> {
    let len: usize = dims.iter().product();
    let rows = len / dims.last().copied().unwrap_or(1);
    let (ds, dloss) = (Slice::from(gpu.unset(len)?), dloss.on(gpu)?);
    gpu.kernel(Shader::KlDiv, "kl_div_backward")
        .words(&[0, 0, 0, 0, 0, len as u32, dloss.start()])
        .words(&[temperature / rows as f32])
        .read(1, residual)
        .read(3, &dloss)
        .write(4, &ds)
        .over(len)?;
    Ok(Tensor::from_gpu(ds.buffer, dims))
}
