//! Copies whole rows. Each task takes some rows.

use std::ops::Range;

use super::Job;
use crate::cpu::{Isa, memory, threads};
use crate::tensor::{Tensor, Wanted};

// Approximate number of elements per task.
const CHUNK: usize = 1 << 16;

/// `y[r] = [a[r], b[r], ...]`
pub(crate) fn forward(_: Isa, job: &Job, parts: &[&Tensor]) -> Tensor {
    let total = job.total;
    let parts: Vec<&[f32]> = parts.iter().map(|p| p.data()).collect();
    let mut y = memory::zeros(job.rows * total);
    let task_rows = (CHUNK / total.max(1)).max(1);
    threads::for_each_chunk(&mut y, task_rows * total, |i, y| {
        for (r, mut row) in y.chunks_exact_mut(total).enumerate() {
            for (part, &width) in parts.iter().zip(&job.widths) {
                let (to, rest) = row.split_at_mut(width);
                to.copy_from_slice(&part[(i * task_rows + r) * width..][..width]);
                row = rest;
            }
        }
    });
    Tensor::computed(y, &job.dims(total))
}

/// `da[r] = dy[r][0..A]`, `db[r] = dy[r][A..A + B]`, and so on
pub(crate) fn backward(_: Isa, job: &Job, dy: &Tensor, wanted: Wanted) -> Vec<Option<Tensor>> {
    let each = job.columns().enumerate();
    each.map(|(input, columns)| {
        wanted.has(input).then(|| {
            let dims = job.dims(columns.len());
            Tensor::computed(part(job, dy.data(), columns), &dims)
        })
    })
    .collect()
}

/// `dpart[r] = dy[r][columns]`
fn part(job: &Job, dy: &[f32], columns: Range<usize>) -> Vec<f32> {
    let width = columns.len();
    let mut dpart = memory::zeros(job.rows * width);
    let task_rows = (CHUNK / width.max(1)).max(1);
    threads::for_each_chunk(&mut dpart, task_rows * width, |i, dpart| {
        for (r, to) in dpart.chunks_exact_mut(width).enumerate() {
            let from = (i * task_rows + r) * job.total + columns.start;
            to.copy_from_slice(&dy[from..][..width]);
        }
    });
    dpart
}
