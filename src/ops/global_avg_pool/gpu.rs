//! Dispatches `shaders/global_avg_pool.wgsl`. One invocation computes one element of the result.

use super::Job;
use crate::error::Result;
use crate::gpu::params::shader_params;
use crate::gpu::{Gpu, Shader, Slice};
use crate::tensor::Tensor;

shader_params! {
    /// The sizes, and where the arrays begin in their buffers.
    struct Params of GlobalAvgPool {
        batch: u32,
        pixels: u32,
        channels: u32,
        x_start: u32,
        dy_start: u32,
    }
}

impl Params {
    fn new(job: &Job) -> Self {
        Params {
            batch: job.batch as u32,
            pixels: job.pixels() as u32,
            channels: job.channels as u32,
            ..Params::default()
        }
    }
}

/// `y[n][c] = 1/(H W) sum_{i, j} x[n][i][j][c]`
pub(crate) fn forward(gpu: &Gpu, job: &Job, x: &Tensor) -> Result<Tensor> {
    let len = job.out_dims().iter().product();
    let (x, y) = (x.on(gpu)?, Slice::from(gpu.unset(len)?));
    gpu.kernel(Shader::GlobalAvgPool, "global_avg_pool_forward")
        .params(&Params {
            x_start: x.start(),
            ..Params::new(job)
        })
        .read(1, &x)
        .write(3, &y)
        .over(len)?;
    Ok(Tensor::from_gpu(y.buffer, &job.out_dims()))
}

/// `dx[n][i][j][c] = dy[n][c] / (H W)`
pub(crate) fn backward(gpu: &Gpu, job: &Job, dy: &Tensor) -> Result<Tensor> {
    let len = job.in_dims().iter().product();
    let (dy, dx) = (dy.on(gpu)?, Slice::from(gpu.unset(len)?));
    gpu.kernel(Shader::GlobalAvgPool, "global_avg_pool_backward")
        .params(&Params {
            dy_start: dy.start(),
            ..Params::new(job)
        })
        .read(2, &dy)
        .write(3, &dx)
        .over(len)?;
    Ok(Tensor::from_gpu(dx.buffer, &job.in_dims()))
}
