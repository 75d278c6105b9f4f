//! The definition as plain loops.

use super::{Job, Sgd, Step};
use crate::error::Result;

/// One step of all parameters; none if the norm is not finite.
pub(crate) fn step(job: &Job, all: &mut [Step]) -> Result<()> {
    if !job.norm.item()?.is_finite() {
        return Ok(());
    }
    let Sgd {
        lr,
        momentum,
        nesterov,
        ..
    } = job.options;
    for step in all {
        let weight_decay = job.weight_decay(step.decays);
        let (param, grad) = (step.param.data_mut(), step.grad.data());
        let velocity = step.velocity.data_mut();
        for i in 0..param.len() {
            let d = grad[i] + weight_decay * param[i];
            velocity[i] = momentum * velocity[i] + d;
            let direction = match nesterov {
                true => d + momentum * velocity[i],
                false => velocity[i],
            };
            param[i] -= lr * direction;
        }
    }
    Ok(())
}
