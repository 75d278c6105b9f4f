//! Copies input pixels into a tile in cache, and on the way applies batch norm and ReLU and rounds to the precision.

use crate::cpu::after::Affine;
use crate::cpu::pairs::copy_as_pairs;
use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, Precision};

// Pixels from the pixel that is copied to the one that is prefetched.
const PREFETCH_PIXELS: usize = 8;

/// Copies neighbouring pixels: applies `before` to their channels and packs the result in lanes of `precision`.
pub(super) struct CopyPixels<'a> {
    /// The first channel of the first pixel, and everything after it.
    pub(super) from: &'a [f32],
    /// Floats from one pixel to the next.
    pub(super) from_stride: usize,
    /// Receives the pixels.
    pub(super) to: &'a mut [f32],
    /// Lanes from one pixel to the next.
    pub(super) to_stride: usize,
    pub(super) pixels: usize,
    pub(super) channels: usize,
    /// Batch norm and ReLU of these channels.
    pub(super) before: Option<Affine<'a>>,
    pub(super) precision: Precision,
}

impl CopyPixels<'_> {
    pub(super) fn run(self, isa: Isa) {
        isa.dispatch_on(self.precision, self);
    }

    /// Returns whether this is a plain copy of one contiguous slice.
    fn is_plain(&self) -> bool {
        self.before.is_none()
            && self.precision == Precision::F32
            && [self.from_stride, self.to_stride] == [self.channels; 2]
    }
}

impl WithSimd for CopyPixels<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        if self.is_plain() {
            let all = self.pixels * self.channels;
            self.to[..all].copy_from_slice(&self.from[..all]);
            return;
        }
        let lanes = self.precision.lanes(self.channels);
        for i in 0..self.pixels {
            let from = &self.from[i * self.from_stride..][..self.channels];
            let to = &mut self.to[i * self.to_stride..][..lanes];
            let ahead = (i + PREFETCH_PIXELS) * self.from_stride;
            let ahead = self.from.as_ptr().wrapping_add(ahead);
            for line in (0..self.channels).step_by(16) {
                s.prefetch(ahead.wrapping_add(line));
            }
            match (self.precision, self.before) {
                (Precision::Bf16, before) => copy_as_pairs(s, before, from, to),
                (Precision::F32, None) => to.copy_from_slice(from),
                (Precision::F32, Some(f)) => f.relu_pixel(s, from, to),
            }
        }
    }
}
