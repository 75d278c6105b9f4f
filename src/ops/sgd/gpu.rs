//! Dispatches `shaders/sgd.wgsl` once for all parameters that fit one buffer.

use super::{Job, Step};
use crate::error::Result;
use crate::gpu::copy::{groups_that_fit, side_by_side};
use crate::gpu::params::shader_params;
use crate::gpu::{Gpu, Shader, Slice};
use crate::tensor::Tensor;

shader_params! {
    /// The sizes, where the arrays begin in their buffers, and the factors.
    struct Params of Sgd {
        len: u32,
        decaying: u32,
        param_start: u32,
        grad_start: u32,
        velocity_start: u32,
        lr: f32,
        momentum: f32,
        weight_decay: f32,
        gradient_factor: f32,
        velocity_factor: f32,
    }
}

/// One step of all parameters, those with weight decay first, in groups that each fit one buffer; none if the norm is not
/// finite. If memory runs out, no parameter has changed.
pub(crate) fn step(gpu: &Gpu, job: &Job, all: &mut [Step]) -> Result<()> {
    let mut order: Vec<&mut Step> = all.iter_mut().collect();
    order.sort_by_key(|s| !s.decays);
    let norm = job.norm.on(gpu)?;
    let lens: Vec<usize> = order.iter().map(|s| s.param.len()).collect();
    let groups = groups_that_fit(gpu, &lens).into_iter();
    let groups = groups.map(|group| {
        let updated = step_group(gpu, job, &norm, &order[group.clone()])?;
        Ok((group, updated))
    });
    for (group, [param, velocity]) in groups.collect::<Result<Vec<_>>>()? {
        let mut first = 0;
        for step in &mut order[group] {
            let len = step.param.len();
            step.param = step.param.with_elements(&param.narrow(first, len)?);
            step.velocity = step.velocity.with_elements(&velocity.narrow(first, len)?);
            first += len;
        }
    }
    Ok(())
}

/// The updated parameters and velocities of one group, each contiguous.
fn step_group(gpu: &Gpu, job: &Job, norm: &Slice, all: &[&mut Step]) -> Result<[Tensor; 2]> {
    let len: usize = all.iter().map(|s| s.param.len()).sum();
    let decaying: usize = all.iter().filter(|s| s.decays).map(|s| s.param.len()).sum();
    let gather = |of: fn(&Step) -> &Tensor| -> Result<Slice> {
        let parts = all.iter().map(|s| Ok((of(s).on(gpu)?, of(s).len())));
        side_by_side(gpu, &parts.collect::<Result<Vec<_>>>()?)
    };
    let (param, grad) = (gather(|s| &s.param)?, gather(|s| &s.grad)?);
    let velocity = gather(|s| &s.velocity)?;
    let new_param = Slice::from(gpu.unset(len)?);
    let new_velocity = Slice::from(gpu.unset(len)?);
    gpu.kernel(Shader::Sgd, "sgd_step")
        .params(&Params {
            len: len as u32,
            decaying: decaying as u32,
            param_start: param.start(),
            grad_start: grad.start(),
            velocity_start: velocity.start(),
            lr: job.options.lr,
            momentum: job.options.momentum,
            weight_decay: job.options.weight_decay,
            gradient_factor: job.gradient_factor,
            velocity_factor: job.velocity_factor,
        })
        .read(1, &param)
        .read(2, &grad)
        .read(3, &velocity)
        .read(4, norm)
        .write(5, &new_param)
        .write(6, &new_velocity)
        .over(len)?;
    Ok([new_param, new_velocity].map(|s| Tensor::from_gpu(s.buffer, &[len])))
}
