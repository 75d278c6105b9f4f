//! The same on a graphics device, by `shaders/adam.wgsl`: one run over all parameters.

use super::{Adam, Factors, Step};
use crate::error::Result;
use crate::gpu::copy::{groups_that_fit, side_by_side};
use crate::gpu::{Gpu, Shader, Slice};
use crate::tensor::Tensor;

/// One step of all parameters, those that decay first; as many together as one buffer holds.
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
    for group in groups_that_fit(gpu, &lens) {
        together(gpu, &mut order[group], &norm, factors, options)?;
    }
    Ok(())
}

fn together(
    gpu: &Gpu,
    all: &mut [&mut Step],
    norm: &Slice,
    factors: Factors,
    options: &Adam,
) -> Result<()> {
    let len_of = |steps: &[&mut Step], decays: bool| -> usize {
        let chosen = steps.iter().filter(|s| s.decays || !decays);
        chosen.map(|s| s.param.len()).sum()
    };
    let (len, decaying) = (len_of(all, false), len_of(all, true));
    let gather = |of: fn(&Step) -> &Tensor| -> Result<Slice> {
        let parts = all.iter().map(|s| Ok((of(s).on(gpu)?, of(s).len())));
        side_by_side(gpu, &parts.collect::<Result<Vec<_>>>()?)
    };
    let (param, grad) = (gather(|s| &s.param)?, gather(|s| &s.grad)?);
    let (m, v) = (gather(|s| &s.m)?, gather(|s| &s.v)?);
    let moved = [0, 1, 2].map(|_| gpu.unset(len));
    let [new_param, new_m, new_v] = moved.map(|buffer| buffer.map(Slice::from));
    let (new_param, new_m, new_v) = (new_param?, new_m?, new_v?);
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
        .params(&starts)
        .params(&[
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
    let [param, m, v] = [new_param, new_m, new_v].map(|s| Tensor::from_gpu(s.buffer, &[len]));
    let mut place = 0;
    for step in all {
        let len = step.param.len();
        step.param = step.param.with_elements(&param.narrow(place, len)?);
        step.m = step.m.with_elements(&m.narrow(place, len)?);
        step.v = step.v.with_elements(&v.narrow(place, len)?);
        place += len;
    }
    Ok(())
}
