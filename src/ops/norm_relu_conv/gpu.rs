//! Normalisation and ReLU happen while the convolution fetches its input.

use crate::error::Result;
use crate::gpu::conv::{self, After, Operands, Product, Shape};
use crate::gpu::copy::Rows;
use crate::gpu::norm::Backward;
use crate::gpu::{Gpu, Slice};
use crate::ops::batch_norm::gpu::halves;
use crate::ops::conv2d::gpu::{map, packed};
use crate::tensor::Tensor;

/// `y = conv(max(0, scale x + shift), w)`, and what comes after.
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

/// What the backward pass knows of the forward pass.
pub(crate) struct Composite {
    pub(crate) shape: Shape,
    pub(crate) x: Rows,
    pub(crate) state: Slice,
    /// Whether the norm used the batch's own statistics.
    pub(crate) batch: bool,
    pub(crate) weight: Tensor,
}

/// The gradients by the parameters; that by `x` goes to where it is gathered.
pub(crate) struct Grads {
    pub(crate) gamma: Tensor,
    pub(crate) beta: Tensor,
    pub(crate) weight: Tensor,
}

impl Composite {
    /// `dw`, then `dz` where `z > 0`, then through batch norm; `dx` is written to `grad_x`, or added to what is there.
    pub(crate) fn backward(
        &self,
        gpu: &Gpu,
        grad: &Rows,
        grad_x: &Rows,
        add: bool,
    ) -> Result<Grads> {
        let Composite {
            shape,
            x,
            state,
            batch,
            weight,
        } = self;
        let grad_weight = conv::grad_weight(gpu, shape, x, Some(state), grad)?;
        let dz = map(gpu.unset(shape.pixels() * shape.channels)?, shape.channels);
        conv::grad_input(
            gpu,
            shape,
            grad,
            &packed(gpu, shape, Operands::F32, weight, true)?,
            &dz,
        )?;
        let back = Backward {
            x,
            state,
            relu: true,
            batch: *batch,
            sizes: [shape.pixels(), shape.channels],
        };
        let sums = back.sums(gpu, &dz)?;
        back.input(gpu, &dz, &sums, grad_x, add)?;
        let [beta, gamma] = halves(&sums, shape.channels)?;
        Ok(Grads {
            gamma,
            beta,
            weight: Tensor::from_gpu(grad_weight, weight.dims()),
        })
    }
}
