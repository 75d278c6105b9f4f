//! Dispatches `shaders/clip_grad_norm.wgsl`. The norm is not read back: the kernel that scales the gradients reads it on
//! the GPU.

use std::ops::Range;

use crate::error::Result;
use crate::gpu::copy::{groups_that_fit, side_by_side};
use crate::gpu::params::shader_params;
use crate::gpu::{Gpu, Shader, Slice, sum};
use crate::tensor::Tensor;

shader_params! {
    /// The sizes, where the gradients begin in their buffer, and the largest norm.
    struct Params of ClipGradNorm {
        len: u32,
        start: u32,
        len_per_chunk: u32,
        chunks: u32,
        max_norm: f32,
    }
}

/// Gradients that lie contiguous in one buffer.
struct Group {
    all: Slice,
    len: usize,
    members: Range<usize>,
}

/// `norm = sqrt(sum g^2)`, `g *= min(1, max_norm / (norm + 1e-6))`. The gradients become contiguous, in groups that each
/// fit one buffer.
pub(crate) fn forward(gpu: &Gpu, grads: &mut [Tensor], max_norm: f32) -> Result<Tensor> {
    let lens: Vec<usize> = grads.iter().map(Tensor::len).collect();
    let mut groups = Vec::new();
    for members in groups_that_fit(gpu, &lens) {
        let parts = grads[members.clone()].iter();
        let parts = parts.map(|g| Ok((g.on(gpu)?, g.len())));
        groups.push(Group {
            all: side_by_side(gpu, &parts.collect::<Result<Vec<_>>>()?)?,
            len: lens[members.clone()].iter().sum(),
            members,
        });
    }
    let norm = norm(gpu, &groups)?;
    for group in groups {
        let scaled = Tensor::from_gpu(scale(gpu, &group, &norm, max_norm)?.buffer, &[group.len]);
        let mut first = 0;
        for grad in group.members {
            let len = grads[grad].len();
            grads[grad] = grads[grad].with_elements(&scaled.narrow(first, len)?);
            first += len;
        }
    }
    Ok(Tensor::from_gpu(norm.buffer, &[]))
}

/// `sqrt(sum g^2)` over all groups, one number.
fn norm(gpu: &Gpu, groups: &[Group]) -> Result<Slice> {
    let total: usize = groups.iter().map(|group| sum::chunks(group.len)[0]).sum();
    let squares = Slice::from(gpu.unset(total)?);
    let mut first = 0;
    for Group { all, len, .. } in groups {
        let [chunks, length] = sum::chunks(*len);
        let out = Slice::from(gpu.unset(chunks)?);
        gpu.kernel(Shader::ClipGradNorm, "clip_grad_norm_squares")
            .params(&Params {
                len: *len as u32,
                start: all.start(),
                len_per_chunk: length as u32,
                ..Params::default()
            })
            .read(1, all)
            .write(3, &out)
            .groups(chunks)?;
        gpu.copy(&out, &squares.after(first), chunks)?;
        first += chunks;
    }
    let norm = Slice::from(gpu.unset(1)?);
    gpu.kernel(Shader::ClipGradNorm, "clip_grad_norm_root")
        .params(&Params {
            chunks: total as u32,
            ..Params::default()
        })
        .read(1, &squares)
        .write(3, &norm)
        .groups(1)?;
    Ok(norm)
}

/// `g min(1, max_norm / (norm + 1e-6))` of one group.
fn scale(gpu: &Gpu, group: &Group, norm: &Slice, max_norm: f32) -> Result<Slice> {
    let scaled = Slice::from(gpu.unset(group.len)?);
    gpu.kernel(Shader::ClipGradNorm, "clip_grad_norm_scale")
        .params(&Params {
            len: group.len as u32,
            start: group.all.start(),
            max_norm,
            ..Params::default()
        })
        .read(1, &group.all)
        .read(2, norm)
        .write(3, &scaled)
        .over(group.len)?;
    Ok(scaled)
}
