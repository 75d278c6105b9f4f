//! Dispatches `shaders/coverage.wgsl`.

use super::Sizes;
use crate::error::Result;
use crate::gpu::{Gpu, Shader, Slice, sum};
use crate::tensor::Tensor;

/// The forward pass's results that the backward pass reads.
pub(crate) struct Saved {
    /// `m` `[S, P]`
    missing: Slice,
    /// `[S, T]`: 1 where a word is said, else 0.
    said: Slice,
}

/// The penalty, one number.
pub(crate) fn forward(
    gpu: &Gpu,
    sizes: Sizes,
    attention: &Tensor,
    said: &[bool],
) -> Result<(Tensor, Saved)> {
    let Sizes {
        sentences,
        steps,
        positions,
    } = sizes;
    let said: Vec<u32> = said.iter().map(|&s| s.into()).collect();
    let saved = Saved {
        missing: Slice::from(gpu.unset(sentences * positions)?),
        said: Slice::from(gpu.upload(&said)?),
    };
    let squares = Slice::from(gpu.unset(sentences * positions)?);
    let x = attention.on(gpu)?;
    gpu.kernel(Shader::Coverage, "coverage_forward")
        .words(&[sentences, steps, positions].map(|n| n as u32))
        .words(&[x.start(), 0])
        .words(&[0.0f32])
        .read(1, &x)
        .read(2, &saved.said)
        .write(3, &saved.missing)
        .write(4, &squares)
        .over(sentences * positions)?;
    let mean = (1.0 / sentences as f64) as f32;
    let y = sum::total(gpu, &squares, sentences * positions, mean)?;
    Ok((Tensor::from_gpu(y, &[]), saved))
}

/// `da` `[S, T, P]`.
pub(crate) fn backward(gpu: &Gpu, sizes: Sizes, saved: &Saved, dy: &Tensor) -> Result<Tensor> {
    let Sizes {
        sentences,
        steps,
        positions,
    } = sizes;
    let len = sentences * steps * positions;
    let (dy, da) = (dy.on(gpu)?, Slice::from(gpu.unset(len)?));
    gpu.kernel(Shader::Coverage, "coverage_backward")
        .words(&[sentences, steps, positions].map(|n| n as u32))
        .words(&[0, dy.start()])
        .words(&[-2.0 / sentences as f32])
        .read(1, &saved.missing)
        .read(2, &saved.said)
        .write(3, &da)
        .read(5, &dy)
        .over(len)?;
    Ok(Tensor::from_gpu(da.buffer, &[sentences, steps, positions]))
}
