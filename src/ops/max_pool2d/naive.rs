//! The definition as plain loops.

use super::Sizes;
use crate::cpu::Isa;

/// For every window and channel, calls `found` with the index of the element of the output and with that of the largest
/// element of the input.
fn each(sizes: Sizes, x: &[f32], mut found: impl FnMut(usize, usize)) {
    let Sizes {
        input: [height, width],
        output,
        channels,
        ..
    } = sizes;
    let image = height * width * channels;
    let mut out = 0;
    for n in 0..x.len() / image.max(1) {
        for p in 0..output[0] {
            for q in 0..output[1] {
                let [rows, columns] = sizes.window([p, q]);
                for c in 0..channels {
                    let mut best = n * image + (rows.start * width + columns.start) * channels + c;
                    for i in rows.clone() {
                        for j in columns.clone() {
                            let here = n * image + (i * width + j) * channels + c;
                            if x[here] > x[best] || x[here].is_nan() {
                                best = here;
                            }
                        }
                    }
                    found(out, best);
                    out += 1;
                }
            }
        }
    }
}

/// `y = x` of the chosen element
pub(crate) fn forward(_: Isa, sizes: Sizes, x: &[f32], y: &mut [f32]) {
    each(sizes, x, |to, from| y[to] = x[from]);
}

/// `dx += dy` of the chosen element
pub(crate) fn backward(_: Isa, sizes: Sizes, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    each(sizes, x, |from, to| dx[to] += dy[from]);
}
