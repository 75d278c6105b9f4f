//! Dispatches `shaders/top_k_subgroups.wgsl` if the GPU has subgroups, else `shaders/top_k.wgsl`. One workgroup takes one
//! row, and only the results are read back.

use super::{Allowed, Job, Likeliest};
use crate::error::Result;
use crate::gpu::params::shader_params;
use crate::gpu::{Gpu, Shader, Slice};

shader_params! {
    /// The sizes, where the logits begin in their buffer, and the words that may not be chosen.
    struct Params of TopK, TopKSubgroups {
        rows: u32,
        words: u32,
        k: u32,
        x_start: u32,
        barred: [u32; 4],
        only: u32,
    }
}

/// Maximum `k` on the GPU, which searches the whole row once for each word.
pub(crate) const MAX_K: usize = 64;

// Stands for no word.
const NONE: u32 = u32::MAX;

/// The most likely words of each row.
pub(crate) fn forward(gpu: &Gpu, job: &Job) -> Result<Vec<Likeliest>> {
    let &Job { rows, k, .. } = job;
    let x = job.logits.on(gpu)?;
    let mut barred = [NONE; 4];
    let mut only = NONE;
    match job.allowed {
        Allowed::Except(all) => barred
            .iter_mut()
            .zip(all)
            .for_each(|(to, &w)| *to = w as u32),
        Allowed::Only(word) => only = word as u32,
    }
    let width = 1 + 2 * k;
    let chosen = Slice::from(gpu.unset(rows * width)?);
    let kernel = match gpu.has_subgroups() {
        true => gpu.kernel(Shader::TopKSubgroups, "top_k_subgroups_forward"),
        false => gpu.kernel(Shader::TopK, "top_k_forward"),
    };
    kernel
        .params(&Params {
            rows: rows as u32,
            words: job.words as u32,
            k: k as u32,
            x_start: x.start(),
            barred,
            only,
        })
        .read(1, &x)
        .write(2, &chosen)
        .groups(rows)?;
    let found: Vec<u32> = gpu.read(&chosen, rows * width)?;
    let row = |row: &[u32]| Likeliest {
        log_sum: f32::from_bits(row[0]).into(),
        words: row[1..]
            .chunks_exact(2)
            .take_while(|pair| pair[0] != NONE)
            .map(|pair| (pair[0] as usize, f32::from_bits(pair[1])))
            .collect(),
    };
    Ok(found.chunks_exact(width).map(row).collect())
}
