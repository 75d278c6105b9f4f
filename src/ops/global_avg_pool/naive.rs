//! The definition as plain loops.

use crate::cpu::Isa;

/// `y = sum of x / pixels`
pub(crate) fn forward(_: Isa, pixels: usize, channels: usize, x: &[f32], y: &mut [f32]) {
    for (to, y) in y.iter_mut().enumerate() {
        let (n, c) = (to / channels, to % channels);
        for i in 0..pixels {
            *y += x[(n * pixels + i) * channels + c];
        }
        *y /= pixels as f32;
    }
}

/// `dx = dy / pixels`
pub(crate) fn backward(_: Isa, pixels: usize, channels: usize, dy: &[f32], dx: &mut [f32]) {
    for (to, dx) in dx.iter_mut().enumerate() {
        let (n, c) = (to / channels / pixels, to % channels);
        *dx = dy[n * channels + c] / pixels as f32;
    }
}
