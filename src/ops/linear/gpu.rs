//! Three matrix products and a sum over rows, on the GPU.

use super::Sizes;
use crate::error::Result;
use crate::gpu::copy::Rows;
use crate::gpu::gemm::{Matrix, Product, gemm};
use crate::gpu::{Gpu, Slice, sum};
use crate::tensor::Tensor;

/// `y = x W^T + b`, with dimensions `dims`.
pub(crate) fn forward(
    gpu: &Gpu,
    sizes: Sizes,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    dims: &[usize],
) -> Result<Tensor> {
    let Sizes {
        rows,
        inputs,
        outputs,
    } = sizes;
    let y = Slice::from(gpu.unset(rows * outputs)?);
    let x = Matrix::new(x.on(gpu)?, inputs);
    let w = Matrix::new(weight.on(gpu)?, inputs);
    let out = Product {
        bias: bias.map(|b| b.on(gpu)).transpose()?,
        ..Product::into(y.clone(), outputs)
    };
    gemm(gpu, [rows, inputs, outputs], &x, &w.t(), &out)?;
    Ok(Tensor::from_gpu(y.buffer, dims))
}

/// `dx = dy W`
pub(crate) fn grad_input(
    gpu: &Gpu,
    sizes: Sizes,
    dy: &Tensor,
    weight: &Tensor,
    dims: &[usize],
) -> Result<Tensor> {
    let Sizes {
        rows,
        inputs,
        outputs,
    } = sizes;
    let dx = Slice::from(gpu.unset(rows * inputs)?);
    let dy = Matrix::new(dy.on(gpu)?, outputs);
    let w = Matrix::new(weight.on(gpu)?, inputs);
    gemm(
        gpu,
        [rows, outputs, inputs],
        &dy,
        &w,
        &Product::into(dx.clone(), inputs),
    )?;
    Ok(Tensor::from_gpu(dx.buffer, dims))
}

/// `dW = dy^T x`
pub(crate) fn grad_weight(gpu: &Gpu, sizes: Sizes, dy: &Tensor, x: &Tensor) -> Result<Tensor> {
    let Sizes {
        rows,
        inputs,
        outputs,
    } = sizes;
    let dw = Slice::from(gpu.unset(outputs * inputs)?);
    let dy = Matrix::new(dy.on(gpu)?, outputs);
    let x = Matrix::new(x.on(gpu)?, inputs);
    gemm(
        gpu,
        [outputs, rows, inputs],
        &dy.t(),
        &x,
        &Product::into(dw.clone(), inputs),
    )?;
    Ok(Tensor::from_gpu(dw.buffer, &[outputs, inputs]))
}

/// `db`: the sum over rows of `dy`.
pub(crate) fn grad_bias(gpu: &Gpu, sizes: Sizes, dy: &Tensor) -> Result<Tensor> {
    let Sizes { rows, outputs, .. } = sizes;
    let dy = Rows {
        data: dy.on(gpu)?,
        stride: outputs,
    };
    Ok(Tensor::from_gpu(
        sum::rows(gpu, &dy, [rows, outputs])?,
        &[outputs],
    ))
}
