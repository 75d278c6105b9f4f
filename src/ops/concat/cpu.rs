//! Copies whole rows. Each task takes some rows.

use crate::cpu::{Isa, memory, threads};

// Approximate number of elements per task.
const CHUNK: usize = 1 << 16;

/// `y[r] = [a[r], b[r], ...]`
pub(crate) fn forward(_: Isa, rows: usize, widths: &[usize], parts: &[&[f32]]) -> Vec<f32> {
    let total: usize = widths.iter().sum();
    let mut y = memory::zeros(rows * total);
    let task_rows = (CHUNK / total.max(1)).max(1);
    threads::for_each_chunk(&mut y, task_rows * total, |i, y| {
        for (r, mut row) in y.chunks_exact_mut(total).enumerate() {
            for (part, &width) in parts.iter().zip(widths) {
                let (to, rest) = row.split_at_mut(width);
                to.copy_from_slice(&part[(i * task_rows + r) * width..][..width]);
                row = rest;
            }
        }
    });
    y
}

/// `dpart[r] = dy[r][columns]`
pub(crate) fn backward(
    _: Isa,
    rows: usize,
    total: usize,
    columns: std::ops::Range<usize>,
    dy: &[f32],
) -> Vec<f32> {
    let width = columns.len();
    let mut dpart = memory::zeros(rows * width);
    let task_rows = (CHUNK / width.max(1)).max(1);
    threads::for_each_chunk(&mut dpart, task_rows * width, |i, dpart| {
        for (r, to) in dpart.chunks_exact_mut(width).enumerate() {
            to.copy_from_slice(&dy[(i * task_rows + r) * total + columns.start..][..width]);
        }
    });
    dpart
}
