//! Dispatches `shaders/mse.wgsl`.

use super::{Job, TARGET, X};
use crate::error::Result;
use crate::gpu::params::shader_params;
use crate::gpu::{Gpu, Shader, Slice, sum};
use crate::tensor::{Tensor, Wanted};

shader_params! {
    /// The sizes, where the arrays begin in their buffers, and `2/n` or `-2/n`.
    struct Params of Mse {
        len: u32,
        x_start: u32,
        target_start: u32,
        len_per_chunk: u32,
        dy_start: u32,
        factor: f32,
    }
}

/// `y = 1/n sum_i (x[i] - t[i])^2`
pub(crate) fn forward(gpu: &Gpu, job: &Job) -> Result<Tensor> {
    let (x, target) = (job.x.on(gpu)?, job.target.on(gpu)?);
    let [chunks, length] = sum::chunks(job.n);
    let parts = Slice::from(gpu.unset(chunks)?);
    gpu.kernel(Shader::Mse, "mse_squares")
        .params(&Params {
            len: job.n as u32,
            x_start: x.start(),
            target_start: target.start(),
            len_per_chunk: length as u32,
            ..Params::default()
        })
        .read(1, &x)
        .read(2, &target)
        .write(4, &parts)
        .groups(chunks)?;
    let y = sum::total(gpu, &parts, chunks, (1.0 / job.n as f64) as f32)?;
    Ok(Tensor::from_gpu(y, &[]))
}

/// `dx[i] = dy 2/n (x[i] - t[i])`, `dt = -dx`
pub(crate) fn backward(
    gpu: &Gpu,
    job: &Job,
    dy: &Tensor,
    wanted: Wanted,
) -> Result<Vec<Option<Tensor>>> {
    let (x, target, dy) = (job.x.on(gpu)?, job.target.on(gpu)?, dy.on(gpu)?);
    let factor = (2.0 / job.n as f64) as f32;
    let dx = |factor: f32| {
        let dx = Slice::from(gpu.unset(job.n)?);
        gpu.kernel(Shader::Mse, "mse_backward")
            .params(&Params {
                len: job.n as u32,
                x_start: x.start(),
                target_start: target.start(),
                dy_start: dy.start(),
                factor,
                ..Params::default()
            })
            .read(1, &x)
            .read(2, &target)
            .read(3, &dy)
            .write(4, &dx)
            .over(job.n)?;
        Ok(Tensor::from_gpu(dx.buffer, job.x.dims()))
    };
    Ok(vec![
        wanted.then(X, || dx(factor))?,
        wanted.then(TARGET, || dx(-factor))?,
    ])
}
