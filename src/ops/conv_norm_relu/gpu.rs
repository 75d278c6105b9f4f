//! Inference: the kernel applies the norm and the ReLU to the convolution's sums before it writes them.

use crate::cpu::conv::ConvShape;
use crate::error::Result;
use crate::gpu::conv::{self, After, Product};
use crate::gpu::{Gpu, Slice};
use crate::ops::conv2d::gpu::{map, out_dims, packed, sizes};
use crate::ops::conv2d::operands;
use crate::tensor::Tensor;

/// `y = max(0, scale conv(x, w) + shift)`
pub(crate) fn forward(
    gpu: &Gpu,
    shape: &ConvShape,
    x: &Tensor,
    weight: &Tensor,
    folded: &Slice,
) -> Result<Tensor> {
    let dims = out_dims(shape);
    let shape = sizes(shape);
    let operands = operands(gpu, &[x, weight]);
    let y = map(gpu.unset(dims.iter().product())?, shape.out_channels);
    let product = Product {
        source: &map(x.on(gpu)?, shape.channels),
        norm: None,
        packed: &packed(gpu, &shape, operands, weight, false)?,
        operands,
        after: After::NormRelu(folded),
        result: &y,
    };
    conv::forward(gpu, &shape, &product)?;
    Ok(Tensor::from_gpu(y.data.buffer, &dims))
}
