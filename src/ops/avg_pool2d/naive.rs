//! The definition as plain loops.

use super::Sizes;
use crate::cpu::Isa;

/// For every element of the output and every element of the input under its window, calls `found(output, input)` with
/// their indices.
fn each(sizes: Sizes, outputs: usize, mut found: impl FnMut(usize, usize)) {
    let Sizes {
        input: [height, width],
        output,
        channels,
        kernel,
        stride,
    } = sizes;
    let per_image = output[0] * output[1] * channels;
    for out in 0..outputs {
        let (n, rest) = (out / per_image, out % per_image);
        let (p, q, c) = (
            rest / channels / output[1],
            rest / channels % output[1],
            rest % channels,
        );
        for u in 0..kernel[0] {
            for v in 0..kernel[1] {
                let (i, j) = (p * stride[0] + u, q * stride[1] + v);
                found(out, ((n * height + i) * width + j) * channels + c);
            }
        }
    }
}

/// `y = sum of x / K`
pub(crate) fn forward(_: Isa, sizes: Sizes, x: &[f32], y: &mut [f32]) {
    let area = (sizes.kernel[0] * sizes.kernel[1]) as f32;
    each(sizes, y.len(), |to, from| y[to] += x[from]);
    for y in y {
        *y /= area;
    }
}

/// `dx = sum of dy / K`
pub(crate) fn backward(_: Isa, sizes: Sizes, dy: &[f32], dx: &mut [f32]) {
    let area = (sizes.kernel[0] * sizes.kernel[1]) as f32;
    each(sizes, dy.len(), |from, to| dx[to] += dy[from] / area);
}
