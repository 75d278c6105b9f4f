//! Dispatches `shaders/adam.wgsl` once for all parameters that fit one buffer.

use super::{Job, Step};
use crate::error::Result;
use crate::gpu::copy::{groups_that_fit, side_by_side};
use crate::gpu::params::shader_params;
use crate::gpu::{Gpu, Shader, Slice};
use crate::tensor::Tensor;

shader_params! {
    /// The sizes, where the arrays begin in their buffers, and the factors.
    struct Params of Adam {
        len: u32,
        decaying: u32,
        param_start: u32,
        grad_start: u32,
        m_start: u32,
        v_start: u32,
        shrink: f32,
        decay: f32,
        rate: f32,
        root: f32,
        beta1: f32,
        beta2: f32,
        eps: f32,
        rest1: f32,
        rest2: f32,
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
    for (group, [param, m, v]) in groups.collect::<Result<Vec<_>>>()? {
        let mut first = 0;
        for step in &mut order[group] {
            let len = step.param.len();
            step.param = step.param.with_elements(&param.narrow(first, len)?);
            step.m = step.m.with_elements(&m.narrow(first, len)?);
            step.v = step.v.with_elements(&v.narrow(first, len)?);
            first += len;
        }
    }
    Ok(())
}

/// The updated parameters, `m` and `v` of one group, each contiguous.
fn step_group(gpu: &Gpu, job: &Job, norm: &Slice, all: &[&mut Step]) -> Result<[Tensor; 3]> {
    let len: usize = all.iter().map(|s| s.param.len()).sum();
    let decaying = all.iter().filter(|s| s.decays);
    let decaying: usize = decaying.map(|s| s.param.len()).sum();
    let gather = |of: fn(&Step) -> &Tensor| -> Result<Slice> {
        let parts = all.iter().map(|s| Ok((of(s).on(gpu)?, of(s).len())));
        side_by_side(gpu, &parts.collect::<Result<Vec<_>>>()?)
    };
    let (param, grad) = (gather(|s| &s.param)?, gather(|s| &s.grad)?);
    let (m, v) = (gather(|s| &s.m)?, gather(|s| &s.v)?);
    let new = || gpu.unset(len).map(Slice::from);
    let (new_param, new_m, new_v) = (new()?, new()?, new()?);
    gpu.kernel(Shader::Adam, "adam_step")
        .params(&Params {
            len: len as u32,
            decaying: decaying as u32,
            param_start: param.start(),
            grad_start: grad.start(),
            m_start: m.start(),
            v_start: v.start(),
            shrink: job.shrink,
            decay: job.decay,
            rate: job.rate,
            root: job.root,
            beta1: job.options.beta1,
            beta2: job.options.beta2,
            eps: job.options.eps,
            rest1: 1.0 - job.options.beta1,
            rest2: 1.0 - job.options.beta2,
        })
        .read(1, &param)
        .read(2, &grad)
        .read(3, &m)
        .read(4, &v)
        .read(5, norm)
        .write(6, &new_param)
        .write(7, &new_m)
        .write(8, &new_v)
        .over(len)?;
    Ok([new_param, new_m, new_v].map(|s| Tensor::from_gpu(s.buffer, &[len])))
}
