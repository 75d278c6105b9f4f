//! Dispatches `shaders/kl_div.wgsl`. One workgroup computes one row.

use super::{Job, Saved};
use crate::error::Result;
use crate::gpu::params::shader_params;
use crate::gpu::{Gpu, Shader, Slice, sum};
use crate::tensor::Tensor;

shader_params! {
    /// The sizes, where the arrays begin in their buffers, `1 / T`, and `T / R`.
    struct Params of KlDiv {
        rows: u32,
        classes: u32,
        student_start: u32,
        teacher_start: u32,
        inverse: f32,
        len: u32,
        dloss_start: u32,
        factor: f32,
    }
}

/// `loss = T^2/R sum_r sum_k p[k] (ln p[k] - ln q[k])`, and `q - p` if the student's logits are tracked.
pub(crate) fn forward(gpu: &Gpu, job: &Job) -> Result<(Tensor, Option<Saved>)> {
    let &Job {
        rows, temperature, ..
    } = job;
    let (len, tracked) = (job.student.len(), job.student.is_tracked());
    let (student, teacher) = (job.student.on(gpu)?, job.teacher.on(gpu)?);
    let residual = Slice::from(gpu.unset(if tracked { len } else { 1 })?);
    let losses = Slice::from(gpu.unset(rows)?);
    gpu.kernel(Shader::KlDiv, "kl_div_forward")
        .constant("RESIDUAL", tracked.into())
        .params(&Params {
            rows: rows as u32,
            classes: job.classes as u32,
            student_start: student.start(),
            teacher_start: teacher.start(),
            inverse: 1.0 / temperature,
            ..Params::default()
        })
        .read(1, &student)
        .read(2, &teacher)
        .write(4, &residual)
        .write(5, &losses)
        .groups(rows)?;
    let square = f64::from(temperature) * f64::from(temperature);
    let loss = sum::total(gpu, &losses, rows, (square / rows as f64) as f32)?;
    let saved = tracked.then(|| Saved {
        residual: Tensor::from_gpu(residual.buffer, job.student.dims()),
        rows,
        temperature,
    });
    Ok((Tensor::from_gpu(loss, &[]), saved))
}

/// `ds = dloss T / R (q - p)`
pub(crate) fn backward(gpu: &Gpu, saved: Saved, dloss: &Tensor) -> Result<Tensor> {
    let (len, dims) = (saved.residual.len(), saved.residual.dims());
    let (residual, dloss) = (saved.residual.on(gpu)?, dloss.on(gpu)?);
    let ds = Slice::from(gpu.unset(len)?);
    gpu.kernel(Shader::KlDiv, "kl_div_backward")
        .params(&Params {
            len: len as u32,
            dloss_start: dloss.start(),
            factor: saved.temperature / saved.rows as f32,
            ..Params::default()
        })
        .read(1, &residual)
        .read(3, &dloss)
        .write(4, &ds)
        .over(len)?;
    Ok(Tensor::from_gpu(ds.buffer, dims))
}
