//! Dispatches `shaders/embedding.wgsl`.

use super::Job;
use crate::error::Result;
use crate::gpu::params::shader_params;
use crate::gpu::{Gpu, Shader, Slice};
use crate::tensor::Tensor;

shader_params! {
    /// The sizes, and where the table begins in its buffer, or `dy`.
    struct Params of Embedding {
        rows: u32,
        columns: u32,
        x_start: u32,
    }
}

/// `y[r] = W[ids[r]]`
pub(crate) fn forward(gpu: &Gpu, job: &Job) -> Result<Tensor> {
    let (rows, columns) = (job.ids.len(), job.width);
    let ids: Vec<u32> = job.ids.iter().map(|&id| id as u32).collect();
    let ids = Slice::from(gpu.upload(&ids)?);
    let (y, w) = (Slice::from(gpu.unset(rows * columns)?), job.weight.on(gpu)?);
    gpu.kernel(Shader::Embedding, "embedding_forward")
        .params(&Params {
            rows: rows as u32,
            columns: columns as u32,
            x_start: w.start(),
        })
        .read(1, &w)
        .read(2, &ids)
        .write(4, &y)
        .over(rows * columns)?;
    Ok(Tensor::from_gpu(y.buffer, &[rows, columns]))
}

/// `dW[v] = sum of dy[r]` over those `r` with `ids[r] = v`. The `r` are sorted by id here, so one invocation finds all the
/// rows that it has to add.
pub(crate) fn backward(gpu: &Gpu, job: &Job, dy: &Tensor) -> Result<Tensor> {
    let (ids, columns) = (&job.ids, job.width);
    let mut order: Vec<u32> = (0..ids.len() as u32).collect();
    order.sort_by_key(|&row| ids[row as usize]);
    // For each id that occurs: the id, and where its rows begin and end in the order.
    let mut groups: Vec<[u32; 3]> = Vec::new();
    for (index, &row) in (0u32..).zip(&order) {
        let id = ids[row as usize] as u32;
        match groups.last_mut() {
            Some(last) if last[0] == id => last[2] = index + 1,
            _ => groups.push([id, index, index + 1]),
        }
    }
    let dw = Slice::from(gpu.zeros(job.rows * columns)?);
    let (order, count) = (Slice::from(gpu.upload(&order)?), groups.len());
    let (groups, dy) = (Slice::from(gpu.upload(&groups)?), dy.on(gpu)?);
    gpu.kernel(Shader::Embedding, "embedding_backward")
        .params(&Params {
            rows: count as u32,
            columns: columns as u32,
            x_start: dy.start(),
        })
        .read(1, &dy)
        .read(2, &order)
        .read(3, &groups)
        .write(4, &dw)
        .over(count * columns)?;
    Ok(Tensor::from_gpu(dw.buffer, &[job.rows, columns]))
}
