//! The definition as plain loops.

use super::{Job, Saved, Sizes};
use crate::tensor::Tensor;

/// `m[s, p] = 1 - sum over counted t of a[s, t, p]`, `y = 1/S sum over s, p of m[s, p]^2`
pub(crate) fn forward(job: &Job) -> (Tensor, Saved) {
    let Sizes {
        sentences,
        steps,
        positions,
    } = job.sizes;
    let a = job.attention.data();
    let mut m = vec![1.0; sentences * positions];
    for s in 0..sentences {
        for t in 0..steps {
            for p in 0..positions {
                if job.counted[s * steps + t] {
                    m[s * positions + p] -= a[(s * steps + t) * positions + p];
                }
            }
        }
    }
    job.penalty(m)
}

/// `da[s, t, p] = -2/S m[s, p] dy` where `t` is counted, else 0
pub(crate) fn backward(saved: &Saved, dy: &Tensor) -> Tensor {
    let Sizes {
        sentences,
        steps,
        positions,
    } = saved.sizes;
    let (m, counted) = (saved.missing.data(), saved.counted.data());
    let factor = -2.0 / sentences as f32 * dy.data()[0];
    let mut da = vec![0.0; sentences * steps * positions];
    for s in 0..sentences {
        for t in 0..steps {
            for p in 0..positions {
                if counted[s * steps + t] == 1.0 {
                    da[(s * steps + t) * positions + p] = factor * m[s * positions + p];
                }
            }
        }
    }
    Tensor::computed(da, &[sentences, steps, positions])
}
