//! Dispatches `shaders/norm_relu_pool.wgsl`, and in the backward pass the kernels of batch norm's gradient.

use super::Sizes;
use crate::error::Result;
use crate::gpu::copy::Rows;
use crate::gpu::norm::Backward;
use crate::gpu::{Gpu, Shader, Slice};
use crate::ops::batch_norm::gpu::halves;
use crate::ops::batch_norm::{Moments, Norm};
use crate::tensor::Tensor;

fn params(sizes: Sizes, batch: usize, start: u32) -> [u32; 6] {
    let Sizes {
        input: [height, width],
        channels,
        window,
    } = sizes;
    let [batch, height, width, channels, window] =
        [batch, height, width, channels, window].map(|n| n as u32);
    [batch, height, width, channels, window, start]
}

/// [`norm_relu_pool`](super::norm_relu_pool()) on the GPU.
pub(crate) fn norm_relu_pool(
    gpu: Gpu,
    sizes: Sizes,
    x: &Tensor,
    norm: &Norm,
) -> Result<(Tensor, Option<Moments>)> {
    let (batch, channels) = (x.dims()[0], sizes.channels);
    let rows = move |data: Slice| Rows {
        data,
        stride: channels,
    };
    let pixels = [batch * sizes.input[0] * sizes.input[1], channels];
    let from = rows(x.on(&gpu)?);
    let (state, moments) = norm.state(&gpu, &from, pixels)?;
    let [out_height, out_width] = sizes.output();
    let dims = [batch, out_height, out_width, channels];
    let len = dims.iter().product();
    let y = Slice::from(gpu.unset(len)?);
    gpu.kernel(Shader::NormReluPool, "norm_relu_pool_forward")
        .words(&params(sizes, batch, from.data.start()))
        .read(1, &from.data)
        .read(2, &state)
        .write(3, &y)
        .over(len)?;
    let (x_dims, is_batch) = (x.dims().to_vec(), norm.is_batch());
    let y =
        Tensor::from_gpu(y.buffer, &dims).record(&[x, norm.weight, norm.bias], move |dy, _| {
            let len = pixels[0] * channels;
            let (dz, dy) = (rows(gpu.unset(len)?.into()), dy.on(&gpu)?);
            gpu.kernel(Shader::NormReluPool, "norm_relu_pool_spread")
                .words(&params(sizes, batch, dy.start()))
                .read(1, &dy)
                .write(3, &dz.data)
                .over(len)?;
            let back = Backward {
                x: &from,
                state: &state,
                relu: true,
                batch: is_batch,
                sizes: pixels,
            };
            let sums = back.sums(&gpu, &dz)?;
            let dx = rows(gpu.unset(len)?.into());
            back.input(&gpu, &dz, &sums, &dx, false)?;
            let [dbeta, dgamma] = halves(&sums, channels)?;
            Ok(vec![
                Some(Tensor::from_gpu(dx.data.buffer, &x_dims)),
                Some(dgamma),
                Some(dbeta),
            ])
        })?;
    Ok((y, moments))
}
