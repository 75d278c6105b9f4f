//! Dispatches `shaders/sgd.wgsl` once for all parameters that fit one buffer.

use super::{Sgd, Step};
use crate::error::Result;
use crate::gpu::copy::{groups_that_fit, side_by_side};
use crate::gpu::{Gpu, Shader, Slice};
use crate::tensor::Tensor;

/// One step of all parameters, those with weight decay first, in groups that each fit one buffer. If memory runs out, no
/// parameter has changed.
pub(crate) fn step(gpu: &Gpu, all: &mut [Step], norm: &Tensor, options: &Sgd) -> Result<()> {
    let mut order: Vec<&mut Step> = all.iter_mut().collect();
    order.sort_by_key(|s| !s.decays);
    let norm = norm.on(gpu)?;
    let lens: Vec<usize> = order.iter().map(|s| s.param.len()).collect();
    let groups = groups_that_fit(gpu, &lens).into_iter();
    let groups = groups.map(|group| {
        Ok((
            group.clone(),
            step_group(gpu, &order[group], &norm, options)?,
        ))
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
fn step_group(gpu: &Gpu, all: &[&mut Step], norm: &Slice, options: &Sgd) -> Result<[Tensor; 2]> {
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
    let Sgd {
        lr,
        momentum,
        weight_decay,
        nesterov,
    } = *options;
    // The direction is `now d + ahead velocity`: `d + momentum velocity` with Nesterov, else `velocity`.
    let [now, ahead] = if nesterov {
        [1.0, momentum]
    } else {
        [0.0, 1.0]
    };
    gpu.kernel(Shader::Sgd, "sgd_step")
        .words(&[
            len as u32,
            decaying as u32,
            param.start(),
            grad.start(),
            velocity.start(),
        ])
        .words(&[lr, momentum, weight_decay, now, ahead])
        .read(1, &param)
        .read(2, &grad)
        .read(3, &velocity)
        .read(4, norm)
        .write(5, &new_param)
        .write(6, &new_velocity)
        .over(len)?;
    Ok([new_param, new_velocity].map(|s| Tensor::from_gpu(s.buffer, &[len])))
}
