//! Dispatches `shaders/coverage.wgsl`.

use super::{Job, Saved, Sizes};
use crate::error::Result;
use crate::gpu::params::shader_params;
use crate::gpu::{Gpu, Shader, Slice, sum};
use crate::tensor::Tensor;

shader_params! {
    /// The sizes, where the arrays begin in their buffers, and `-2/S`.
    struct Params of Coverage {
        sentences: u32,
        steps: u32,
        positions: u32,
        a_start: u32,
        dy_start: u32,
        factor: f32,
    }
}

impl Params {
    fn new(sizes: Sizes) -> Params {
        Params {
            sentences: sizes.sentences as u32,
            steps: sizes.steps as u32,
            positions: sizes.positions as u32,
            ..Params::default()
        }
    }
}

/// `m[s, p] = 1 - sum over counted t of a[s, t, p]`, `y = 1/S sum over s, p of m[s, p]^2`
pub(crate) fn forward(gpu: &Gpu, job: &Job) -> Result<(Tensor, Saved)> {
    let Sizes {
        sentences,
        steps,
        positions,
    } = job.sizes;
    let counted = Slice::from(gpu.upload(&job.flags())?);
    let missing = Slice::from(gpu.unset(sentences * positions)?);
    let squares = Slice::from(gpu.unset(sentences * positions)?);
    let a = job.attention.on(gpu)?;
    gpu.kernel(Shader::Coverage, "coverage_forward")
        .params(&Params {
            a_start: a.start(),
            ..Params::new(job.sizes)
        })
        .read(1, &a)
        .read(2, &counted)
        .write(3, &missing)
        .write(4, &squares)
        .over(sentences * positions)?;
    let mean = (1.0 / sentences as f64) as f32;
    let y = sum::total(gpu, &squares, sentences * positions, mean)?;
    let saved = Saved {
        missing: Tensor::from_gpu(missing.buffer, &[sentences, positions]),
        counted: Tensor::from_gpu(counted.buffer, &[sentences, steps]),
        sizes: job.sizes,
    };
    Ok((Tensor::from_gpu(y, &[]), saved))
}

/// `da[s, t, p] = -2/S m[s, p] dy` where `t` is counted, else 0
pub(crate) fn backward(gpu: &Gpu, saved: &Saved, dy: &Tensor) -> Result<Tensor> {
    let Sizes {
        sentences,
        steps,
        positions,
    } = saved.sizes;
    let len = sentences * steps * positions;
    let (missing, counted) = (saved.missing.on(gpu)?, saved.counted.on(gpu)?);
    let (dy, da) = (dy.on(gpu)?, Slice::from(gpu.unset(len)?));
    gpu.kernel(Shader::Coverage, "coverage_backward")
        .params(&Params {
            dy_start: dy.start(),
            factor: -2.0 / sentences as f32,
            ..Params::new(saved.sizes)
        })
        .read(1, &missing)
        .read(2, &counted)
        .write(3, &da)
        .read(5, &dy)
        .over(len)?;
    Ok(Tensor::from_gpu(da.buffer, &[sentences, steps, positions]))
}
