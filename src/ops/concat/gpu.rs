//! Dispatches `shaders/concat.wgsl` once for each part.

use super::Job;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::copy::{self, Rows};
use crate::tensor::{Tensor, Wanted};

/// `y[r] = [a[r], b[r], ...]`
pub(crate) fn forward(gpu: &Gpu, job: &Job, parts: &[&Tensor]) -> Result<Tensor> {
    let y = Rows::new(gpu.unset(job.rows * job.total)?, job.total);
    for (part, columns) in parts.iter().zip(job.columns()) {
        let from = Rows::new(part.on(gpu)?, columns.len());
        let to = y.from_column(columns.start);
        copy::columns(gpu, &from, &to, [job.rows, columns.len()])?;
    }
    Ok(Tensor::from_gpu(y.data.buffer, &job.dims(job.total)))
}

/// `da[r] = dy[r][0..A]`, `db[r] = dy[r][A..A + B]`, and so on
pub(crate) fn backward(
    gpu: &Gpu,
    job: &Job,
    dy: &Tensor,
    wanted: Wanted,
) -> Result<Vec<Option<Tensor>>> {
    let dy = Rows::new(dy.on(gpu)?, job.total);
    let each = job.columns().enumerate();
    each.map(|(input, columns)| {
        wanted.then(input, || {
            let width = columns.len();
            let to = Rows::new(gpu.unset(job.rows * width)?, width);
            copy::columns(gpu, &dy.from_column(columns.start), &to, [job.rows, width])?;
            Ok(Tensor::from_gpu(to.data.buffer, &job.dims(width)))
        })
    })
    .collect()
}
