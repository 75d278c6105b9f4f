//! Loops over the elements of one slice, and vectors at its end, which several operations share.

use super::simd::{Simd, WithSimd};
use super::{Isa, math, threads};

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

/// Returns the sum of `exp(factor (x - largest))` over the elements of `x`, and writes these terms to `out`, if it is given.
#[inline(always)]
pub fn exponentials<S: Simd>(
    s: S,
    x: &[f32],
    largest: f32,
    factor: f32,
    out: Option<&mut [f32]>,
) -> f32 {
    let shift_and_factor = [largest, factor].map(|value| s.splat(value));
    let whole = x.len() / S::LANES * S::LANES;
    let (body, tail) = x.split_at(whole);
    let (mut sum, mut last) = (s.splat(0.0), 0.0);
    let body = body.chunks_exact(S::LANES);
    if let Some(out) = out {
        let (out, out_tail) = out.split_at_mut(whole);
        for (x, out) in body.zip(out.chunks_exact_mut(S::LANES)) {
            let y = exponential(s, s.load(x), shift_and_factor);
            s.store(out, y);
            sum = s.add(sum, y);
        }
        let y = exponential(s, s.load_part(tail, largest), shift_and_factor);
        s.store_part(out_tail, y);
        out_tail.iter().for_each(|y| last += y);
    } else {
        for x in body {
            sum = s.add(sum, exponential(s, s.load(x), shift_and_factor));
        }
        let mut out = [0.0; 16];
        let out = &mut out[..tail.len()];
        let y = exponential(s, s.load_part(tail, largest), shift_and_factor);
        s.store_part(out, y);
        out.iter().for_each(|y| last += y);
    }
    s.sum(sum) + last
}

/// `exp(factor (x - shift))`. A function and not a closure: the compiler may leave a closure that is called in several
/// places out of line, and out of line it is compiled without the instruction set.
#[inline(always)]
fn exponential<S: Simd>(s: S, x: S::V, [shift, factor]: [S::V; 2]) -> S::V {
    math::exp(s, s.mul(s.sub(x, shift), factor))
}

/// Loads the vector of `x` from `first` on; elements beyond the end are zero.
#[inline(always)]
pub fn get<S: Simd>(s: S, x: &[f32], first: usize) -> S::V {
    let x = &x[first..];
    match x.len() >= S::LANES {
        true => s.load(x),
        false => s.load_part(x, 0.0),
    }
}

/// Stores the vector of `x` from `first` on; lanes beyond the end are dropped.
#[inline(always)]
pub fn put<S: Simd>(s: S, x: &mut [f32], first: usize, v: S::V) {
    let x = &mut x[first..];
    match x.len() >= S::LANES {
        true => s.store(x, v),
        false => s.store_part(x, v),
    }
}
