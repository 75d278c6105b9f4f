//! Dispatches `shaders/categorical.wgsl`. One workgroup draws from one row, and only the words are read back.

use super::{Job, MAX_BARRED};
use crate::error::Result;
use crate::gpu::params::shader_params;
use crate::gpu::{Gpu, Shader, Slice};

shader_params! {
    /// The sizes, where the logits begin in their buffer, `1 / T`, and the words that may not be drawn.
    struct Params of Categorical {
        rows: u32,
        words: u32,
        x_start: u32,
        inverse: f32,
        barred: [u32; 4],
    }
}

// Stands for no word.
const NONE: u32 = u32::MAX;

/// The word drawn from each row; `None` if the sum of the exponentials is not finite or no word may be drawn.
pub(crate) fn forward(gpu: &Gpu, job: &Job) -> Result<Vec<Option<usize>>> {
    let rows = job.rows;
    if rows == 0 {
        return Ok(Vec::new());
    }
    let x = job.logits.on(gpu)?;
    let uniform = Slice::from(gpu.upload(job.uniform)?);
    let mut barred = [NONE; MAX_BARRED];
    for (to, &word) in barred.iter_mut().zip(job.barred) {
        *to = word as u32;
    }
    let drawn = Slice::from(gpu.unset(rows)?);
    gpu.kernel(Shader::Categorical, "categorical_forward")
        .params(&Params {
            rows: rows as u32,
            words: job.words as u32,
            x_start: x.start(),
            inverse: job.inverse,
            barred,
        })
        .read(1, &x)
        .read(2, &uniform)
        .write(3, &drawn)
        .groups(rows)?;
    let drawn: Vec<u32> = gpu.read(&drawn, rows)?;
    let word = |word| (word != NONE).then_some(word as usize);
    Ok(drawn.into_iter().map(word).collect())
}
