//! Dispatches `shaders/avg_pool2d.wgsl`. One invocation computes one element of the result.

use super::Job;
use crate::error::Result;
use crate::gpu::params::shader_params;
use crate::gpu::{Gpu, Shader, Slice};
use crate::tensor::Tensor;

shader_params! {
    /// The sizes, and where the arrays begin in their buffers.
    struct Params of AvgPool2d {
        batch: u32,
        height: u32,
        width: u32,
        channels: u32,
        out_height: u32,
        out_width: u32,
        kernel_y: u32,
        kernel_x: u32,
        stride_y: u32,
        stride_x: u32,
        x_start: u32,
        dy_start: u32,
    }
}

impl Params {
    fn new(job: &Job) -> Self {
        let [height, width] = job.input;
        let [out_height, out_width] = job.output;
        Params {
            batch: job.batch as u32,
            height: height as u32,
            width: width as u32,
            channels: job.channels as u32,
            out_height: out_height as u32,
            out_width: out_width as u32,
            kernel_y: job.kernel[0] as u32,
            kernel_x: job.kernel[1] as u32,
            stride_y: job.stride[0] as u32,
            stride_x: job.stride[1] as u32,
            ..Params::default()
        }
    }
}

/// `y[n][p][q][c] = 1/K sum_{u, v} x[n][p S + u][q S + v][c]`
pub(crate) fn forward(gpu: &Gpu, job: &Job, x: &Tensor) -> Result<Tensor> {
    let len = job.out_dims().iter().product();
    let (x, y) = (x.on(gpu)?, Slice::from(gpu.unset(len)?));
    gpu.kernel(Shader::AvgPool2d, "avg_pool2d_forward")
        .params(&Params {
            x_start: x.start(),
            ..Params::new(job)
        })
        .read(1, &x)
        .write(3, &y)
        .over(len)?;
    Ok(Tensor::from_gpu(y.buffer, &job.out_dims()))
}

/// `dx[n][i][j][c] = 1/K sum dy[n][p][q][c]`, over the windows that cover `(i, j)`
pub(crate) fn backward(gpu: &Gpu, job: &Job, dy: &Tensor) -> Result<Tensor> {
    let len = job.in_dims().iter().product();
    let (dy, dx) = (dy.on(gpu)?, Slice::from(gpu.unset(len)?));
    gpu.kernel(Shader::AvgPool2d, "avg_pool2d_backward")
        .params(&Params {
            dy_start: dy.start(),
            ..Params::new(job)
        })
        .read(2, &dy)
        .write(3, &dx)
        .over(len)?;
    Ok(Tensor::from_gpu(dx.buffer, &job.in_dims()))
}
