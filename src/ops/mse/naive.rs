//! The definition as plain loops.

use super::{Job, TARGET, X};
use crate::tensor::{Tensor, Wanted};

/// `y = 1/n sum_i (x[i] - t[i])^2`
pub(crate) fn forward(job: &Job) -> Tensor {
    let (x, t) = (job.x.data(), job.target.data());
    let mut sum = 0.0;
    for i in 0..job.n {
        let d = f64::from(x[i] - t[i]);
        sum += d * d;
    }
    Tensor::scalar((sum / job.n as f64) as f32)
}

/// `dx[i] = dy 2/n (x[i] - t[i])`, `dt = -dx`
pub(crate) fn backward(job: &Job, dy: &Tensor, wanted: Wanted) -> Vec<Option<Tensor>> {
    let (x, t) = (job.x.data(), job.target.data());
    let factor = (f64::from(dy.data()[0]) * 2.0 / job.n as f64) as f32;
    let dx = |factor: f32| {
        let dx = x.iter().zip(t).map(|(x, t)| factor * (x - t));
        Tensor::computed(dx.collect(), job.x.dims())
    };
    vec![
        wanted.has(X).then(|| dx(factor)),
        wanted.has(TARGET).then(|| dx(-factor)),
    ]
}
