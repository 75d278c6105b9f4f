//! The definition as plain loops.

use super::{BIAS, Job, WEIGHT, X};
use crate::tensor::{Tensor, Wanted};

/// `y[r][o] = b[o] + sum_i x[r][i] W[o][i]`
pub(crate) fn forward(job: &Job) -> Tensor {
    let (x, weight) = (job.x.data(), job.weight.data());
    let mut y = vec![0.0; job.rows * job.outputs];
    for r in 0..job.rows {
        for o in 0..job.outputs {
            let mut sum = job.bias.as_ref().map_or(0.0, |b| b.data()[o]);
            for i in 0..job.inputs {
                sum += x[r * job.inputs + i] * weight[o * job.inputs + i];
            }
            y[r * job.outputs + o] = sum;
        }
    }
    Tensor::computed(y, &job.out_dims())
}

/// `dx[r][i] = sum_o dy[r][o] W[o][i]`, `dW[o][i] = sum_r dy[r][o] x[r][i]`, `db[o] = sum_r dy[r][o]`
pub(crate) fn backward(job: &Job, dy: &Tensor, wanted: Wanted) -> Vec<Option<Tensor>> {
    let (x, weight, dy) = (job.x.data(), job.weight.data(), dy.data());
    let mut dx = vec![0.0; job.rows * job.inputs];
    let mut dw = vec![0.0; job.outputs * job.inputs];
    let mut db = vec![0.0; job.outputs];
    for r in 0..job.rows {
        for o in 0..job.outputs {
            let dy = dy[r * job.outputs + o];
            for i in 0..job.inputs {
                dx[r * job.inputs + i] += dy * weight[o * job.inputs + i];
                dw[o * job.inputs + i] += dy * x[r * job.inputs + i];
            }
            db[o] += dy;
        }
    }
    vec![
        wanted.has(X).then(|| Tensor::computed(dx, job.x.dims())),
        wanted
            .has(WEIGHT)
            .then(|| Tensor::computed(dw, job.weight.dims())),
        wanted
            .has(BIAS)
            .then(|| Tensor::computed(db, &[job.outputs])),
    ]
}
