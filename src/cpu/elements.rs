//! Loops over the elements of one slice, which several operations share.

use super::simd::{Simd, WithSimd};
use super::{Isa, threads};

// Elements per task: a quarter of a megabyte.
const CHUNK: usize = 1 << 16;

/// Multiplies every element of `x` by `factor`.
pub fn scale(isa: Isa, x: &mut [f32], factor: f32) {
    threads::for_each_chunk(x, CHUNK, |_, x| isa.dispatch(Scale { x, factor }));
}

struct Scale<'a> {
    x: &'a mut [f32],
    factor: f32,
}

impl WithSimd for Scale<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        self.x.iter_mut().for_each(|x| *x *= self.factor);
    }
}

/// Returns the largest element of `x`; negative infinity if there is none.
#[inline(always)]
pub fn largest<S: Simd>(s: S, x: &[f32]) -> f32 {
    let mut chunks = x.chunks_exact(S::LANES);
    let mut maxima = s.splat(f32::NEG_INFINITY);
    for x in &mut chunks {
        maxima = s.max(s.load(x), maxima);
    }
    maxima = s.max(s.load_part(chunks.remainder(), f32::NEG_INFINITY), maxima);
    s.largest(maxima)
}
