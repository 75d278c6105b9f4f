//! The same on a graphics device, by `shaders/embedding.wgsl`.

use crate::error::Result;
use crate::gpu::{Gpu, Shader, Slice};
use crate::tensor::Tensor;

/// `y[r] = W[id[r]]`
pub(crate) fn forward(gpu: &Gpu, weight: &Tensor, ids: &[usize], columns: usize) -> Result<Tensor> {
    let rows: Vec<u32> = ids.iter().map(|&id| id as u32).collect();
    let rows = Slice::from(gpu.upload(&rows)?);
    let (y, w) = (
        Slice::from(gpu.unset(ids.len() * columns)?),
        weight.on(gpu)?,
    );
    gpu.kernel(Shader::Embedding, "embedding_forward")
        .params(&[ids.len() as u32, columns as u32, w.start()])
        .read(1, &w)
        .read(2, &rows)
        .write(4, &y)
        .over(ids.len() * columns)?;
    Ok(Tensor::from_gpu(y.buffer, &[ids.len(), columns]))
}

/// `dW[w] = sum of dy[r]` over the rows `r` of that word. They are sorted by word here, so that one thread finds all that
/// it has to add.
pub(crate) fn backward(gpu: &Gpu, dims: &[usize], ids: &[usize], dy: &Tensor) -> Result<Tensor> {
    let columns = dims[1];
    let mut order: Vec<u32> = (0..ids.len() as u32).collect();
    order.sort_by_key(|&row| ids[row as usize]);
    // Of each word that occurs: the word, and its first and last place in the order.
    let mut words: Vec<[u32; 3]> = Vec::new();
    for (place, &row) in (0u32..).zip(&order) {
        let word = ids[row as usize] as u32;
        match words.last_mut() {
            Some(last) if last[0] == word => last[2] = place + 1,
            _ => words.push([word, place, place + 1]),
        }
    }
    let dw = Slice::from(gpu.zeros(dims[0] * columns)?);
    let (order, count) = (Slice::from(gpu.upload(&order)?), words.len());
    let (words, dy) = (Slice::from(gpu.upload(&words)?), dy.on(gpu)?);
    gpu.kernel(Shader::Embedding, "embedding_backward")
        .params(&[count as u32, columns as u32, dy.start()])
        .read(1, &dy)
        .read(2, &order)
        .read(3, &words)
        .write(4, &dw)
        .over(count * columns)?;
    Ok(Tensor::from_gpu(dw.buffer, dims))
}
