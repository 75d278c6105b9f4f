//! The convolution of [`crate::gpu::conv`] applies the norm and the ReLU while it loads its input.

use crate::error::Result;
use crate::gpu::conv::{self, After, Operands, Product, Shape};
use crate::gpu::copy::Rows;
use crate::gpu::{Gpu, Slice};
use crate::ops::batch_norm::{self, Folded};
use crate::ops::conv2d::gpu::{map, packed};
use crate::tensor::Tensor;

/// `y = conv(max(0, scale x + shift), w)`, then `after` applied to `y`.
pub(crate) fn forward(
    gpu: &Gpu,
    shape: &Shape,
    [x, y]: [&Rows; 2],
    state: &Slice,
    weight: &Tensor,
    operands: Operands,
    after: After,
) -> Result<()> {
    let product = Product {
        source: x,
        norm: Some(state),
        packed: &packed(gpu, shape, operands, weight, false)?,
        operands,
        after,
        result: y,
    };
    conv::forward(gpu, shape, &product)
}

/// Sizes and inputs of the forward pass, for the backward pass.
pub(crate) struct Composite {
    pub(crate) shape: Shape,
    pub(crate) x: Rows,
    pub(crate) folded: Folded,
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
            folded,
            weight,
        } = self;
        let dw = conv::grad_weight(gpu, shape, x, Some(&folded.on(gpu)?), dy)?;
        let dz = map(gpu.unset(shape.pixels() * shape.channels)?, shape.channels);
        conv::grad_input(
            gpu,
            shape,
            dy,
            &packed(gpu, shape, Operands::F32, weight, true)?,
            &dz,
        )?;
        let [dgamma, dbeta] =
            batch_norm::gpu::grads(gpu, [x, &dz], folded, true, shape.pixels(), Some(dx), add)?;
        Ok(Grads {
            gamma: dgamma,
            beta: dbeta,
            weight: Tensor::from_gpu(dw, weight.dims()),
        })
    }
}
