//! The same a row at a time.

use crate::cpu::{Isa, memory, threads};

// Elements of one task, about.
const RUN: usize = 1 << 16;

/// `y[r] = [a[r], b[r], ...]`
pub(crate) fn forward(_: Isa, rows: usize, widths: &[usize], parts: &[&[f32]]) -> Vec<f32> {
    let total: usize = widths.iter().sum();
    let mut y = memory::zeros(rows * total);
    let step = (RUN / total.max(1)).max(1);
    threads::for_each_chunk(&mut y, step * total, |i, y| {
        for (r, mut row) in y.chunks_exact_mut(total).enumerate() {
            for (part, &width) in parts.iter().zip(widths) {
                let (to, rest) = row.split_at_mut(width);
                to.copy_from_slice(&part[(i * step + r) * width..][..width]);
                row = rest;
            }
        }
    });
    y
}

/// `d part[r] = dy[r][columns]`
pub(crate) fn backward(
    _: Isa,
    rows: usize,
    total: usize,
    columns: std::ops::Range<usize>,
    dy: &[f32],
) -> Vec<f32> {
    let width = columns.len();
    let mut part = memory::zeros(rows * width);
    let step = (RUN / width.max(1)).max(1);
    threads::for_each_chunk(&mut part, step * width, |i, part| {
        for (r, to) in part.chunks_exact_mut(width).enumerate() {
            to.copy_from_slice(&dy[(i * step + r) * total + columns.start..][..width]);
        }
    });
    part
}
