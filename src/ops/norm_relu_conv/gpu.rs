//! The convolution of [`crate::gpu::conv`] applies the norm and the ReLU while it loads its input.

use crate::cpu::Precision;
use crate::error::Result;
use crate::gpu::conv::{self, After};
use crate::gpu::copy::Rows;
use crate::gpu::norm::Backward;
use crate::gpu::{Gpu, Slice};
use crate::ops::batch_norm::gpu::halves;
use crate::ops::conv2d::gpu::{convolve, grad_input};
use crate::sizes::ConvShape;
use crate::tensor::Tensor;

/// `y = conv(max(0, scale x + shift), w)`, then `after` applied to `y`.
pub(crate) fn forward(
    gpu: &Gpu,
    shape: &ConvShape,
    [x, y]: [&Rows; 2],
    state: &Slice,
    weight: &Tensor,
    precision: Precision,
    after: After,
) -> Result<()> {
    convolve(gpu, shape, [x, y], Some(state), (weight, precision), after)
}

/// Sizes and inputs of the forward pass, for the backward pass.
pub(crate) struct Composite {
    pub(crate) shape: ConvShape,
    pub(crate) x: Rows,
    pub(crate) state: Slice,
    /// Whether the norm used the statistics of the mini-batch.
    pub(crate) batch: bool,
    pub(crate) weight: Tensor,
}

/// The gradients with respect to the parameters. That with respect to `x` is written to a buffer instead.
pub(crate) struct Grads {
    pub(crate) gamma: Tensor,
    pub(crate) beta: Tensor,
    pub(crate) weight: Tensor,
}

impl Composite {
    /// `dw`, then `dz` where `z > 0`, then the gradients of batch norm. The gradient with respect to `x` is written to
    /// `dx`, or with `add` added to it.
    pub(crate) fn backward(&self, gpu: &Gpu, dy: &Rows, dx: &Rows, add: bool) -> Result<Grads> {
        let Composite {
            shape,
            x,
            state,
            batch,
            weight,
        } = self;
        let dw = conv::grad_weight(gpu, shape, x, Some(state), dy)?;
        let dz = grad_input(gpu, shape, dy, weight)?;
        let back = Backward {
            x,
            state,
            relu: true,
            batch: *batch,
            sizes: [shape.pixels(), shape.channels],
        };
        let sums = back.sums(gpu, &dz)?;
        back.input(gpu, &dz, &sums, dx, add)?;
        let [dbeta, dgamma] = halves(&sums, shape.channels)?;
        Ok(Grads {
            gamma: dgamma,
            beta: dbeta,
            weight: Tensor::from_gpu(dw, weight.dims()),
        })
    }
}
