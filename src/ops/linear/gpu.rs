//! Three matrix products and a sum over rows, on the GPU.

use super::{BIAS, Job, WEIGHT, X};
use crate::error::Result;
use crate::gpu::copy::Rows;
use crate::gpu::gemm::{Matrix, Product, gemm};
use crate::gpu::{Gpu, Slice, sum};
use crate::tensor::{Tensor, Wanted};

/// `y = x W^T + b`
pub(crate) fn forward(gpu: &Gpu, job: &Job) -> Result<Tensor> {
    let &Job {
        rows,
        inputs,
        outputs,
        ..
    } = job;
    let y = Slice::from(gpu.unset(rows * outputs)?);
    let x = Matrix::new(job.x.on(gpu)?, inputs);
    let weight = Matrix::new(job.weight.on(gpu)?, inputs);
    let out = Product {
        bias: job.bias.as_ref().map(|b| b.on(gpu)).transpose()?,
        ..Product::into(y.clone(), outputs)
    };
    gemm(gpu, [rows, inputs, outputs], &x, &weight.t(), &out)?;
    Ok(Tensor::from_gpu(y.buffer, &job.out_dims()))
}

/// `dx = dy W`, `dW = dy^T x`, and `db`: the sum over rows of `dy`.
pub(crate) fn backward(
    gpu: &Gpu,
    job: &Job,
    dy: &Tensor,
    wanted: Wanted,
) -> Result<Vec<Option<Tensor>>> {
    let &Job {
        rows,
        inputs,
        outputs,
        ..
    } = job;
    let dy = dy.on(gpu)?;
    let dy_rows = Matrix::new(dy.clone(), outputs);
    let dx = || {
        let dx = Slice::from(gpu.unset(rows * inputs)?);
        let weight = Matrix::new(job.weight.on(gpu)?, inputs);
        let out = Product::into(dx.clone(), inputs);
        gemm(gpu, [rows, outputs, inputs], &dy_rows, &weight, &out)?;
        Ok(Tensor::from_gpu(dx.buffer, job.x.dims()))
    };
    let dw = || {
        let dw = Slice::from(gpu.unset(outputs * inputs)?);
        let x = Matrix::new(job.x.on(gpu)?, inputs);
        let out = Product::into(dw.clone(), inputs);
        gemm(gpu, [outputs, rows, inputs], &dy_rows.t(), &x, &out)?;
        Ok(Tensor::from_gpu(dw.buffer, job.weight.dims()))
    };
    let db = || {
        let rows_of_dy = Rows::new(dy.clone(), outputs);
        Ok(Tensor::from_gpu(
            sum::rows(gpu, &rows_of_dy, [rows, outputs])?,
            &[outputs],
        ))
    };
    Ok(vec![
        wanted.then(X, dx)?,
        wanted.then(WEIGHT, dw)?,
        wanted.then(BIAS, db)?,
    ])
}
