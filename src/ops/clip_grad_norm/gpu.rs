//! Dispatches `shaders/clip_grad_norm.wgsl`. The norm is not read back: the kernel that scales the gradients reads it on
//! the GPU.

use std::ops::Range;

use crate::error::Result;
use crate::gpu::copy::{groups_that_fit, side_by_side};
use crate::gpu::{Gpu, Shader, Slice, sum};
use crate::tensor::Tensor;

/// Scales all gradients and returns their norm. The gradients become contiguous, in groups that each fit one buffer.
pub(crate) fn clip(gpu: &Gpu, grads: &mut [Tensor], max_norm: f32) -> Result<Tensor> {
    let lens: Vec<usize> = grads.iter().map(Tensor::len).collect();
    let mut groups: Vec<(Slice, usize, Range<usize>)> = Vec::new();
    for members in groups_that_fit(gpu, &lens) {
        let parts = grads[members.clone()]
            .iter()
            .map(|g| Ok((g.on(gpu)?, g.len())));
        let all = side_by_side(gpu, &parts.collect::<Result<Vec<_>>>()?)?;
        groups.push((all, lens[members.clone()].iter().sum(), members));
    }
    let total: usize = groups.iter().map(|(_, len, _)| sum::chunks(*len)[0]).sum();
    let squares = Slice::from(gpu.unset(total)?);
    let mut first = 0;
    for (all, len, _) in &groups {
        let [chunks, length] = sum::chunks(*len);
        let out = Slice::from(gpu.unset(chunks)?);
        gpu.kernel(Shader::ClipGradNorm, "clip_grad_norm_squares")
            .words(&[*len as u32, all.start(), length as u32, 0, 0])
            .read(1, all)
            .write(3, &out)
            .groups(chunks)?;
        gpu.copy(&out, &squares.after(first), chunks)?;
        first += chunks;
    }
    let norm = Slice::from(gpu.unset(1)?);
    gpu.kernel(Shader::ClipGradNorm, "clip_grad_norm_root")
        .words(&[0, 0, 0, total as u32, 0])
        .read(1, &squares)
        .write(3, &norm)
        .groups(1)?;
    for (all, len, members) in groups {
        let scaled = Slice::from(gpu.unset(len)?);
        gpu.kernel(Shader::ClipGradNorm, "clip_grad_norm_scale")
            .words(&[len as u32, all.start(), 0, 0])
            .words(&[max_norm])
            .read(1, &all)
            .read(2, &norm)
            .write(3, &scaled)
            .over(len)?;
        let scaled = Tensor::from_gpu(scaled.buffer, &[len]);
        let mut first = 0;
        for grad in members {
            let len = grads[grad].len();
            grads[grad] = grads[grad].with_elements(&scaled.narrow(first, len)?);
            first += len;
        }
    }
    Ok(Tensor::from_gpu(norm.buffer, &[]))
}
