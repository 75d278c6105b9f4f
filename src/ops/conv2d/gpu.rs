//! The implicit matrix product of [`crate::gpu::conv`].

use super::{BIAS, Job, WEIGHT, X};
use crate::cpu::Precision;
use crate::error::Result;
use crate::gpu::conv::{self, After, ConvProduct, Operands};
use crate::gpu::copy::Rows;
use crate::gpu::{Gpu, Slice, sum};
use crate::sizes::ConvShape;
use crate::tensor::{Tensor, Wanted};

/// The type of the operands: f16 where 16 bits are asked for and the GPU has f16. WGSL has no bf16.
fn operands(gpu: &Gpu, precision: Precision) -> Operands {
    match precision {
        Precision::Bf16 if gpu.has_f16() => Operands::F16,
        Precision::Bf16 | Precision::F32 => Operands::F32,
    }
}

/// `weight`, packed for the product: for the forward pass or, if `backward`, for the gradient with respect to the input.
fn packed(
    gpu: &Gpu,
    shape: &ConvShape,
    operands: Operands,
    weight: &Tensor,
    backward: bool,
) -> Result<Slice> {
    let order = usize::from(backward) + 2 * usize::from(operands == Operands::F16);
    weight.packed_on(gpu, order, |w| {
        conv::pack(gpu, shape, operands, w, backward)
    })
}

/// `y = after(conv(x, w))`. With a folded `norm`, `max(0, scale x + shift)` takes the place of `x`.
pub(crate) fn convolve(
    gpu: &Gpu,
    shape: &ConvShape,
    [x, y]: [&Rows; 2],
    norm: Option<&Slice>,
    (weight, precision): (&Tensor, Precision),
    after: After,
) -> Result<()> {
    let operands = operands(gpu, precision);
    let product = ConvProduct {
        source: x,
        norm,
        packed: &packed(gpu, shape, operands, weight, false)?,
        operands,
        after,
        result: y,
    };
    conv::forward(gpu, shape, &product)
}

/// `dx = sum dy w`, `[N, H, W, C]`, in a new buffer.
pub(crate) fn grad_input(gpu: &Gpu, shape: &ConvShape, dy: &Rows, weight: &Tensor) -> Result<Rows> {
    let dx = Rows::new(gpu.unset(shape.pixels() * shape.channels)?, shape.channels);
    let packed = packed(gpu, shape, Operands::F32, weight, true)?;
    conv::grad_input(gpu, shape, dy, &packed, &dx)?;
    Ok(dx)
}

/// `y = b + sum x w`
pub(crate) fn forward(gpu: &Gpu, job: &Job) -> Result<Tensor> {
    let shape = &job.shape;
    let outputs = shape.out_channels;
    let x = Rows::new(job.x.on(gpu)?, shape.channels);
    let y = Rows::new(gpu.unset(shape.out_pixels() * outputs)?, outputs);
    let bias = job.bias.as_ref().map(|b| b.on(gpu)).transpose()?;
    let after = bias.as_ref().map_or(After::Nothing, After::Bias);
    let weight = (&job.weight, job.precision);
    convolve(gpu, shape, [&x, &y], None, weight, after)?;
    Ok(Tensor::from_gpu(y.data.buffer, &shape.out_dims()))
}

/// `dx = sum dy w`, `dw = sum dy x`, `db = sum dy`
pub(crate) fn backward(
    gpu: &Gpu,
    job: &Job,
    dy: &Tensor,
    wanted: Wanted,
) -> Result<Vec<Option<Tensor>>> {
    let (shape, weight) = (&job.shape, &job.weight);
    let dy = Rows::new(dy.on(gpu)?, shape.out_channels);
    let dx = || {
        let dx = grad_input(gpu, shape, &dy, weight)?;
        Ok(Tensor::from_gpu(dx.data.buffer, job.x.dims()))
    };
    let dw = || {
        let x = Rows::new(job.x.on(gpu)?, shape.channels);
        let dw = conv::grad_weight(gpu, shape, &x, None, &dy)?;
        Ok(Tensor::from_gpu(dw, weight.dims()))
    };
    let db = || {
        let db = sum::rows(gpu, &dy, [shape.out_pixels(), shape.out_channels])?;
        Ok(Tensor::from_gpu(db, &[shape.out_channels]))
    };
    Ok(vec![
        wanted.then(X, dx)?,
        wanted.then(WEIGHT, dw)?,
        wanted.then(BIAS, db)?,
    ])
}
