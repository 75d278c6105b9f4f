//! Dispatches `shaders/embedding.wgsl`.

use crate::error::Result;
use crate::gpu::{Gpu, Shader, Slice};
use crate::tensor::Tensor;

/// `y[r] = W[ids[r]]`
pub(crate) fn forward(gpu: &Gpu, weight: &Tensor, ids: &[usize], columns: usize) -> Result<Tensor> {
    let rows: Vec<u32> = ids.iter().map(|&id| id as u32).collect();
    let rows = Slice::from(gpu.upload(&rows)?);
    let (y, w) = (
        Slice::from(gpu.unset(ids.len() * columns)?),
        weight.on(gpu)?,
    );
    gpu.kernel(Shader::Embedding, "embedding_forward")
        .words(&[ids.len() as u32, columns as u32, w.start()])
        .read(1, &w)
        .read(2, &rows)
        .write(4, &y)
        .over(ids.len() * columns)?;
    Ok(Tensor::from_gpu(y.buffer, &[ids.len(), columns]))
}

/// `dW[v] = sum of dy[r]` over those `r` with `ids[r] = v`. The `r` are sorted by id here, so one invocation finds all the
/// rows that it has to add.
pub(crate) fn backward(gpu: &Gpu, dims: &[usize], ids: &[usize], dy: &Tensor) -> Result<Tensor> {
    let columns = dims[1];
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
    let dw = Slice::from(gpu.zeros(dims[0] * columns)?);
    let (order, count) = (Slice::from(gpu.upload(&order)?), groups.len());
    let (groups, dy) = (Slice::from(gpu.upload(&groups)?), dy.on(gpu)?);
    gpu.kernel(Shader::Embedding, "embedding_backward")
        .words(&[count as u32, columns as u32, dy.start()])
        .read(1, &dy)
        .read(2, &order)
        .read(3, &groups)
        .write(4, &dw)
        .over(count * columns)?;
    Ok(Tensor::from_gpu(dw.buffer, dims))
}
