//! The convolution of [`crate::gpu::conv`] applies the norm and the ReLU to its sums before it writes them.

use super::Job;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::conv::After;
use crate::gpu::copy::Rows;
use crate::ops::conv2d::gpu::convolve;
use crate::tensor::Tensor;

/// `y = max(0, scale conv(x, w) + shift)`
pub(super) fn forward(gpu: &Gpu, job: &Job) -> Result<Tensor> {
    let (shape, outputs) = (&job.shape, job.shape.out_channels);
    let x = Rows::new(job.x.on(gpu)?, shape.channels);
    let y = Rows::new(gpu.unset(shape.out_pixels() * outputs)?, outputs);
    let weight = (job.weight, job.precision);
    let folded = job.folded.on(gpu)?;
    convolve(gpu, shape, [&x, &y], None, weight, After::NormRelu(&folded))?;
    Ok(Tensor::from_gpu(y.data.buffer, &shape.out_dims()))
}
