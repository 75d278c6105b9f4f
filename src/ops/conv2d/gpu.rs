//! The implicit matrix product of [`crate::gpu::conv`].

use crate::cpu::conv::ConvShape;
use crate::error::Result;
use crate::gpu::conv::{self, After, Operands, Product, Shape};
use crate::gpu::copy::Rows;
use crate::gpu::{Gpu, Slice, sum};
use crate::tensor::Tensor;

/// The sizes as [`crate::gpu::conv`] takes them.
pub(crate) fn sizes(shape: &ConvShape) -> Shape {
    Shape {
        batch: shape.batch,
        input: [shape.height, shape.width],
        channels: shape.channels,
        output: [shape.out_height(), shape.out_width()],
        out_channels: shape.out_channels,
        kernel: shape.kernel,
        stride: shape.stride,
        padding: shape.padding,
    }
}

/// The output's dimensions.
pub(crate) fn out_dims(shape: &ConvShape) -> [usize; 4] {
    [
        shape.batch,
        shape.out_height(),
        shape.out_width(),
        shape.out_channels,
    ]
}

/// `weight`, packed for the product: for the forward pass or, if `backward`, for the gradient with respect to the input.
pub(crate) fn packed(
    gpu: &Gpu,
    shape: &Shape,
    operands: Operands,
    weight: &Tensor,
    backward: bool,
) -> Result<Slice> {
    let order = usize::from(backward) + 2 * usize::from(operands == Operands::F16);
    weight.packed_on(gpu, order, |w| {
        conv::pack(gpu, shape, operands, w, backward)
    })
}

/// A feature map whose pixels are contiguous.
pub(crate) fn map(data: impl Into<Slice>, channels: usize) -> Rows {
    Rows {
        data: data.into(),
        stride: channels,
    }
}

/// `y = b + sum x w`
pub(crate) fn forward(
    gpu: &Gpu,
    shape: &Shape,
    operands: Operands,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Slice> {
    let y = map(
        gpu.unset(shape.out_pixels() * shape.out_channels)?,
        shape.out_channels,
    );
    let bias = bias.map(|b| b.on(gpu)).transpose()?;
    let product = Product {
        source: &map(x.on(gpu)?, shape.channels),
        norm: None,
        packed: &packed(gpu, shape, operands, weight, false)?,
        operands,
        after: bias.as_ref().map_or(After::Nothing, After::Bias),
        result: &y,
    };
    conv::forward(gpu, shape, &product)?;
    Ok(y.data)
}

/// `dx = sum dy w`
pub(crate) fn grad_input(
    gpu: &Gpu,
    shape: &Shape,
    weight: &Tensor,
    dy: &Tensor,
    dims: &[usize],
) -> Result<Tensor> {
    let dx = map(gpu.unset(shape.pixels() * shape.channels)?, shape.channels);
    let packed = packed(gpu, shape, Operands::F32, weight, true)?;
    conv::grad_input(
        gpu,
        shape,
        &map(dy.on(gpu)?, shape.out_channels),
        &packed,
        &dx,
    )?;
    Ok(Tensor::from_gpu(dx.data.buffer, dims))
}

/// `dw = sum dy x`
pub(crate) fn grad_weight(
    gpu: &Gpu,
    shape: &Shape,
    x: &Tensor,
    dy: &Tensor,
    dims: &[usize],
) -> Result<Tensor> {
    let (x, dy) = (
        map(x.on(gpu)?, shape.channels),
        map(dy.on(gpu)?, shape.out_channels),
    );
    Ok(Tensor::from_gpu(
        conv::grad_weight(gpu, shape, &x, None, &dy)?,
        dims,
    ))
}

/// `db = sum dy`
pub(crate) fn grad_bias(gpu: &Gpu, shape: &Shape, dy: &Tensor) -> Result<Tensor> {
    let dy = map(dy.on(gpu)?, shape.out_channels);
    let db = sum::rows(gpu, &dy, [shape.out_pixels(), shape.out_channels])?;
    Ok(Tensor::from_gpu(db, &[shape.out_channels]))
}
