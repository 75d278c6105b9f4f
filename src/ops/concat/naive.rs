//! The definition as plain loops.

use super::Job;
use crate::tensor::{Tensor, Wanted};

/// `y[r] = [a[r], b[r], ...]`
pub(crate) fn forward(job: &Job, parts: &[&Tensor]) -> Tensor {
    let mut y = Vec::new();
    for r in 0..job.rows {
        for (part, width) in parts.iter().zip(&job.widths) {
            for c in 0..*width {
                y.push(part.data()[r * width + c]);
            }
        }
    }
    Tensor::computed(y, &job.dims(job.total))
}

/// `da[r] = dy[r][0..A]`, `db[r] = dy[r][A..A + B]`, and so on
pub(crate) fn backward(job: &Job, dy: &Tensor, wanted: Wanted) -> Vec<Option<Tensor>> {
    let mut all = Vec::new();
    for (input, columns) in job.columns().enumerate() {
        let mut dpart = Vec::new();
        for r in 0..job.rows {
            for c in columns.clone() {
                dpart.push(dy.data()[r * job.total + c]);
            }
        }
        let dims = job.dims(columns.len());
        all.push(wanted.has(input).then(|| Tensor::computed(dpart, &dims)));
    }
    all
}
