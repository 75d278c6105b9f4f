//! The matrices of the transforms, applied to a vector of channels at a time. Points of opposite sign share the even and the
//! odd part of their polynomial.

use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};

use super::{IN, OUT};
use crate::cpu::simd::Simd;

/// `G g`: evaluates the taps' polynomial at the points, scaled.
#[inline(always)]
pub(super) fn evaluate_taps<S: Simd>(s: S, [g0, g1, g2]: [S::V; 3]) -> [S::V; IN] {
    let (third, sixth) = (s.splat(1.0 / 3.0), s.splat(1.0 / 6.0));
    let even_a = s.mul(s.splat(-1.0 / 3.0), s.mul_add(s.splat(2.0), g0, g2));
    let odd_a = s.mul(s.splat(-2.0 / 3.0 * FRAC_1_SQRT_2), g1);
    let even_b = s.mul_add(sixth, g0, s.mul(third, g2));
    let odd_b = s.mul(s.splat(SQRT_2 / 6.0), g1);
    [
        g0,
        s.add(even_a, odd_a),
        s.sub(even_a, odd_a),
        s.add(even_b, odd_b),
        s.sub(even_b, odd_b),
        g2,
    ]
}

/// `B^T d`: the transpose of the interpolation.
#[inline(always)]
pub(super) fn interpolate_transposed<S: Simd>(s: S, d: [S::V; IN]) -> [S::V; IN] {
    let (a, b) = (s.splat(FRAC_1_SQRT_2), s.splat(SQRT_2));
    let (minus_two, minus_half) = (s.splat(-2.0), s.splat(-0.5));
    let minus_five_halves = s.splat(-2.5);
    let (even_a, odd_a) = (
        s.mul_add(minus_two, d[2], d[4]),
        s.mul(a, s.mul_add(minus_two, d[1], d[3])),
    );
    let (even_b, odd_b) = (
        s.mul_add(minus_half, d[2], d[4]),
        s.mul(b, s.mul_add(minus_half, d[1], d[3])),
    );
    [
        s.mul_add(minus_five_halves, d[2], s.add(d[0], d[4])),
        s.add(even_a, odd_a),
        s.sub(even_a, odd_a),
        s.add(even_b, odd_b),
        s.sub(even_b, odd_b),
        s.mul_add(minus_five_halves, d[3], s.add(d[1], d[5])),
    ]
}

/// `A^T m`: the transpose of the evaluation.
#[inline(always)]
pub(super) fn evaluate_transposed<S: Simd>(s: S, m: [S::V; IN]) -> [S::V; OUT] {
    let (a, b) = (s.splat(FRAC_1_SQRT_2), s.splat(SQRT_2));
    let (half, two) = (s.splat(0.5), s.splat(2.0));
    let (sum_a, sum_b) = (s.add(m[1], m[2]), s.add(m[3], m[4]));
    let (difference_a, difference_b) = (s.mul(a, s.sub(m[1], m[2])), s.mul(b, s.sub(m[3], m[4])));
    [
        s.add(m[0], s.add(sum_a, sum_b)),
        s.add(difference_a, difference_b),
        s.mul_add(half, sum_a, s.mul(two, sum_b)),
        s.mul_add(half, difference_a, s.mul_add(two, difference_b, m[5])),
    ]
}

/// `A y`: evaluates the polynomial whose coefficients are four outputs at the points.
#[inline(always)]
pub(super) fn evaluate_outputs<S: Simd>(s: S, y: [S::V; OUT]) -> [S::V; IN] {
    let (a, b) = (s.splat(FRAC_1_SQRT_2), s.splat(SQRT_2));
    let (half, two) = (s.splat(0.5), s.splat(2.0));
    let (even_a, odd_a) = (
        s.mul_add(half, y[2], y[0]),
        s.mul(a, s.mul_add(half, y[3], y[1])),
    );
    let (even_b, odd_b) = (
        s.mul_add(two, y[2], y[0]),
        s.mul(b, s.mul_add(two, y[3], y[1])),
    );
    [
        y[0],
        s.add(even_a, odd_a),
        s.sub(even_a, odd_a),
        s.add(even_b, odd_b),
        s.sub(even_b, odd_b),
        y[3],
    ]
}

/// `G^T u`: the transpose of the evaluation of the taps.
pub(super) fn evaluate_taps_transposed([u0, u1, u2, u3, u4, u5]: [f32; IN]) -> [f32; 3] {
    let (sum_a, sum_b) = (u1 + u2, u3 + u4);
    let (difference_a, difference_b) = (FRAC_1_SQRT_2 * (u1 - u2), SQRT_2 * (u3 - u4));
    [
        u0 - 2.0 / 3.0 * sum_a + sum_b / 6.0,
        difference_b / 6.0 - 2.0 / 3.0 * difference_a,
        (sum_b - sum_a) / 3.0 + u5,
    ]
}
