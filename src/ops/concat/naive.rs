//! The definition as plain loops.

use crate::cpu::Isa;

/// `y[r] = [a[r], b[r], ...]`
pub(crate) fn forward(_: Isa, rows: usize, widths: &[usize], parts: &[&[f32]]) -> Vec<f32> {
    let mut y = Vec::new();
    for r in 0..rows {
        for (part, width) in parts.iter().zip(widths) {
            for c in 0..*width {
                y.push(part[r * width + c]);
            }
        }
    }
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
    let mut dpart = Vec::new();
    for r in 0..rows {
        for c in columns.clone() {
            dpart.push(dy[r * total + c]);
        }
    }
    dpart
}
