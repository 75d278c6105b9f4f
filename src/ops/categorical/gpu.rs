//! Dispatches `shaders/categorical.wgsl`. One workgroup draws from one row, and only the words are read back.

use super::{Draw, MAX_BARRED};
use crate::error::Result;
use crate::gpu::{Gpu, Shader, Slice};
use crate::tensor::Tensor;

// Stands for no word.
const NONE: u32 = u32::MAX;

/// The word drawn from each row; `None` for a row whose sum is not finite.
pub(crate) fn forward(
    gpu: &Gpu,
    draw: Draw,
    logits: &Tensor,
    uniform: &[f32],
) -> Result<Vec<Option<usize>>> {
    let [rows, words] = [0, 1].map(|axis| logits.dims()[axis]);
    if rows == 0 {
        return Ok(Vec::new());
    }
    let x = logits.on(gpu)?;
    let uniform = Slice::from(gpu.upload(uniform)?);
    let mut barred = [NONE; MAX_BARRED];
    for (to, &word) in barred.iter_mut().zip(draw.barred) {
        *to = word as u32;
    }
    let drawn = Slice::from(gpu.unset(rows)?);
    gpu.kernel(Shader::Categorical, "categorical_forward")
        .words(&[rows as u32, words as u32, x.start()])
        .words(&[draw.inverse])
        .words(&barred)
        .read(1, &x)
        .read(2, &uniform)
        .write(3, &drawn)
        .groups(rows)?;
    let drawn: Vec<u32> = gpu.read(&drawn, rows)?;
    let word = |word| (word != NONE).then_some(word as usize);
    Ok(drawn.into_iter().map(word).collect())
}
