//! Dispatches `shaders/adam.wgsl` once for all parameters that fit one buffer.

use super::{Adam, Factors, Step};
use crate::error::Result;
use crate::gpu::copy::{groups_that_fit, side_by_side};
use crate::gpu::{Gpu, Shader, Slice};
use crate::tensor::Tensor;

/// One step of all parameters, those with weight decay first, in groups that each fit one buffer. If memory runs out, no
/// parameter has changed.
pub(crate) fn step(
    gpu: &Gpu,
    all: &mut [Step],
    norm: &Tensor,
    factors: Factors,
    options: &Adam,
) -> Result<()> {
    let mut order: Vec<&mut Step> = all.iter_mut().collect();
    order.sort_by_key(|s| !s.decays);
    let norm = norm.on(gpu)?;
    let lens: Vec<usize> = order.iter().map(|s| s.param.len()).collect();
    let groups = groups_that_fit(gpu, &lens).into_iter();
    let groups = groups.map(|group| {
        let updated = step_group(gpu, &order[group.clone()], &norm, factors, options)?;
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
fn step_group(
    gpu: &Gpu,
    all: &[&mut Step],
    norm: &Slice,
    factors: Factors,
    options: &Adam,
) -> Result<[Tensor; 3]> {
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
    let Factors {
        shrink,
        decay,
        rate,
        root,
    } = factors;
    let Adam {
        beta1, beta2, eps, ..
    } = *options;
    let starts = [
        len as u32,
        decaying as u32,
        param.start(),
        grad.start(),
        m.start(),
        v.start(),
    ];
    gpu.kernel(Shader::Adam, "adam_step")
        .words(&starts)
        .words(&[
            shrink,
            decay,
            rate,
            root,
            beta1,
            beta2,
            eps,
            1.0 - beta1,
            1.0 - beta2,
        ])
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
