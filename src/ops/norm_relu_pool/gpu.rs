//! Dispatches `shaders/norm_relu_pool.wgsl`, and in the backward pass the kernels of batch norm's gradient.

use super::{BETA, GAMMA, Job, X};
use crate::error::Result;
use crate::gpu::copy::Rows;
use crate::gpu::params::shader_params;
use crate::gpu::{Gpu, Shader, Slice};
use crate::ops::batch_norm::{self, Folded, Moments, Norm};
use crate::tensor::{Tensor, Wanted};

shader_params! {
    /// The sizes, and where the arrays begin in their buffers.
    struct Params of NormReluPool {
        batch: u32,
        height: u32,
        width: u32,
        channels: u32,
        window: u32,
        x_start: u32,
        dy_start: u32,
    }
}

impl Params {
    fn new(job: &Job) -> Self {
        let [height, width] = job.input;
        Params {
            batch: job.batch as u32,
            height: height as u32,
            width: width as u32,
            channels: job.channels as u32,
            window: job.window as u32,
            ..Params::default()
        }
    }
}

/// `y[n][p][q][c] = 1/s^2 sum_{u, v} max(0, scale x[n][p s + u][q s + v][c] + shift)`
pub(super) fn forward(
    gpu: &Gpu,
    job: &Job,
    norm: &Norm,
) -> Result<(Tensor, Folded, Option<Moments>)> {
    let x = Rows::new(job.x.on(gpu)?, job.channels);
    let (folded, moments) = batch_norm::gpu::fold_for(gpu, norm, &x, job.pixels())?;
    let len = job.out_dims().iter().product();
    let y = Slice::from(gpu.unset(len)?);
    gpu.kernel(Shader::NormReluPool, "norm_relu_pool_forward")
        .params(&Params {
            x_start: x.data.start(),
            ..Params::new(job)
        })
        .read(1, &x.data)
        .read(2, &folded.on(gpu)?)
        .write(4, &y)
        .over(len)?;
    let y = Tensor::from_gpu(y.buffer, &job.out_dims());
    Ok((y, folded, moments))
}

/// `dz[n][p s + u][q s + v][c] = 1/s^2 dy[n][p][q][c]`, then the gradients of batch norm and ReLU
pub(super) fn backward(
    gpu: &Gpu,
    job: &Job,
    folded: &Folded,
    dy: &Tensor,
    wanted: Wanted,
) -> Result<Vec<Option<Tensor>>> {
    let len = job.x.len();
    let unset = || Ok(Rows::new(gpu.unset(len)?, job.channels));
    let (dy, dz) = (dy.on(gpu)?, unset()?);
    gpu.kernel(Shader::NormReluPool, "norm_relu_pool_spread")
        .params(&Params {
            dy_start: dy.start(),
            ..Params::new(job)
        })
        .read(3, &dy)
        .write(4, &dz.data)
        .over(len)?;
    let dx = wanted.has(X).then(unset).transpose()?;
    let [dgamma, dbeta] = batch_norm::gpu::grads(
        gpu,
        [&Rows::new(job.x.on(gpu)?, job.channels), &dz],
        folded,
        true,
        job.pixels(),
        dx.as_ref(),
        false,
    )?;
    Ok(vec![
        dx.map(|dx| Tensor::from_gpu(dx.data.buffer, job.x.dims())),
        wanted.has(GAMMA).then_some(dgamma),
        wanted.has(BETA).then_some(dbeta),
    ])
}
