//! The definition as plain loops.

use super::{Adam, Job, Step};
use crate::error::Result;

/// One step of all parameters; none if the norm is not finite.
pub(crate) fn step(job: &Job, all: &mut [Step]) -> Result<()> {
    if !job.norm.item()?.is_finite() {
        return Ok(());
    }
    let &Job { rate, root, .. } = job;
    let Adam {
        beta1, beta2, eps, ..
    } = job.options;
    for step in all {
        let [shrink, decay] = job.decay_of(step.decays);
        let (param, grad) = (step.param.data_mut(), step.grad.data());
        let (m, v) = (step.m.data_mut(), step.v.data_mut());
        for i in 0..param.len() {
            let g = grad[i] + decay * param[i];
            m[i] = beta1 * m[i] + (1.0 - beta1) * g;
            v[i] = beta2 * v[i] + (1.0 - beta2) * g * g;
            param[i] = shrink * param[i] - rate * m[i] / (v[i].sqrt() * root + eps);
        }
    }
    Ok(())
}
