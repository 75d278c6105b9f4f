//! `exp`, `tanh` and `sigmoid` on vectors.
//!
//! `exp` splits its argument: `x = n ln 2 + r` with integral `n` and `|r| <= ln 2 / 2`, so that `e^x = 2^n e^r`. A
//! polynomial of degree 7 gives `e^r`, and `2^n` is an exponent field. `n ln 2` is subtracted in two parts, of which the
//! first has so few digits that it is exact (Cody and Waite, 1980).
//!
//! Bounds, which the tests check over the whole range:
//!
//! | function | relative error at most |
//! |---|---|
//! | [`exp`] | 2.5e-7 |
//! | [`sigmoid`] | 4e-7 |
//! | [`tanh`] | 4e-7 |

use super::Isa;
use super::simd::{Simd, WithSimd};

// The largest and the smallest argument whose power of two is a normal number.
const EXP_HIGH: f32 = 88.02969;
const EXP_LOW: f32 = -87.33654;
// 355 / 512: nine bits, so that its product with any exponent is exact.
const LN2_HIGH: f32 = 355.0 / 512.0;
const LN2_LOW: f32 = -2.121_944_4e-4;

/// `e^x` in every lane. The argument is clamped to `[-87.3, 88.0]`: results that would underflow become 1.2e-38, and
/// results that would overflow 1.7e38.
#[inline(always)]
pub fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    // In this order a NaN stays a NaN.
    let x = s.min(s.splat(EXP_HIGH), s.max(s.splat(EXP_LOW), x));
    let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    let r = s.mul_add(n, s.splat(-LN2_HIGH), x);
    let r = s.mul_add(n, s.splat(-LN2_LOW), r);
    // The Taylor series of e^r up to r^7 / 7!. The first term left out, r^8 / 8!, is below 6e-9 for |r| <= 0.347.
    let mut p = s.splat(1.0 / 5040.0);
    for c in [
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ] {
        p = s.mul_add(p, r, s.splat(c));
    }
    s.scale_by_power_of_two(p, n)
}

/// `1 / (1 + e^-x)` in every lane.
#[inline(always)]
pub fn sigmoid<S: Simd>(s: S, x: S::V) -> S::V {
    let e = exp(s, s.sub(s.splat(0.0), x));
    s.div(s.splat(1.0), s.add(s.splat(1.0), e))
}

// tanh x = x P(x^2) / Q(x^2), the constant term first. P and Q have degree 4; the largest relative error over
// |x| <= TANH_END is minimal, 2.1e-8 (found by the exchange algorithm of Remez). Beyond TANH_END, tanh x rounds to 1.
const TANH_P: [f32; 5] = [
    0.999_999_98,
    0.133_797_22,
    0.003_494_039,
    2.058_355_1e-5,
    1.331_916_3e-8,
];
const TANH_Q: [f32; 5] = [1.0, 0.467_130_37, 0.025_871_09, 0.000_328_31, 7.762_058e-7];
const TANH_END: f32 = 9.02;

/// The hyperbolic tangent in every lane, in [-1, 1].
///
/// A rational function needs one division and no exponential. All coefficients are positive, so no digits cancel.
#[inline(always)]
pub fn tanh<S: Simd>(s: S, x: S::V) -> S::V {
    // In this order a NaN stays a NaN.
    let x = s.min(s.splat(TANH_END), s.max(s.splat(-TANH_END), x));
    let x2 = s.mul(x, x);
    let [mut p, mut q] = [s.splat(TANH_P[4]), s.splat(TANH_Q[4])];
    for i in (0..4).rev() {
        p = s.mul_add(p, x2, s.splat(TANH_P[i]));
        q = s.mul_add(q, x2, s.splat(TANH_Q[i]));
    }
    let y = s.div(s.mul(x, p), q);
    s.min(s.splat(1.0), s.max(s.splat(-1.0), y))
}

/// A function that [`apply`] can apply to a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// [`exp`]
    Exp,
    /// [`sigmoid`]
    Sigmoid,
    /// [`tanh`]
    Tanh,
}

/// Replaces every element `x` by `f(x)`.
pub fn apply(isa: Isa, f: Function, data: &mut [f32]) {
    struct Apply<'a>(Function, &'a mut [f32]);
    impl WithSimd for Apply<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            match self.0 {
                Function::Exp => map(
                    s,
                    self.1,
                    #[inline(always)]
                    |v| exp(s, v),
                ),
                Function::Sigmoid => map(
                    s,
                    self.1,
                    #[inline(always)]
                    |v| sigmoid(s, v),
                ),
                Function::Tanh => map(
                    s,
                    self.1,
                    #[inline(always)]
                    |v| tanh(s, v),
                ),
            }
        }
    }
    isa.dispatch(Apply(f, data));
}

#[inline(always)]
fn map<S: Simd>(s: S, data: &mut [f32], f: impl Fn(S::V) -> S::V) {
    let mut chunks = data.chunks_exact_mut(S::LANES);
    for x in &mut chunks {
        s.store(x, f(s.load(x)));
    }
    let tail = chunks.into_remainder();
    s.store_part(tail, f(s.load_part(tail, 0.0)));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest relative error of `f` against `exact` over `[low, high]`.
    fn worst(isa: Isa, f: Function, low: f32, high: f32, exact: impl Fn(f64) -> f64) -> f64 {
        let steps = 400_003;
        let x: Vec<f32> = (0..=steps)
            .map(|i| low + (high - low) * (i as f32 / steps as f32))
            .collect();
        let mut y = x.clone();
        apply(isa, f, &mut y);
        x.iter()
            .zip(&y)
            .map(|(&x, &y)| {
                let want = exact(f64::from(x));
                if want == 0.0 {
                    f64::from(y).abs()
                } else {
                    ((f64::from(y) - want) / want).abs()
                }
            })
            .fold(0.0, f64::max)
    }

    #[test]
    fn error_bounds_hold_on_every_instruction_set() {
        for isa in Isa::available() {
            let e = worst(isa, Function::Exp, -87.0, 88.0, f64::exp);
            let s = worst(isa, Function::Sigmoid, -80.0, 80.0, |x| {
                1.0 / (1.0 + (-x).exp())
            });
            let t = worst(isa, Function::Tanh, -12.0, 12.0, f64::tanh).max(worst(
                isa,
                Function::Tanh,
                -1e-3,
                1e-3,
                f64::tanh,
            ));
            println!("{isa}: exp {e:.2e}, sigmoid {s:.2e}, tanh {t:.2e}");
            assert!(
                e < 2.5e-7 && s < 4e-7 && t < 4e-7,
                "{isa}: {e:.2e} {s:.2e} {t:.2e}"
            );
        }
    }

    #[test]
    fn no_tangent_is_beyond_one() {
        for isa in Isa::available() {
            let mut x: Vec<f32> = (0..200_000).map(|i| 6.0 + i as f32 * 2e-5).collect();
            x.extend([1e30, f32::MAX]);
            apply(isa, Function::Tanh, &mut x);
            assert!(x.iter().all(|&y| (0.9999..=1.0).contains(&y)), "{isa}");
        }
    }

    #[test]
    fn nan_stays_nan() {
        for isa in Isa::available() {
            for f in [Function::Exp, Function::Sigmoid, Function::Tanh] {
                let mut x = [f32::NAN; 19];
                apply(isa, f, &mut x);
                assert!(x.iter().all(|y| y.is_nan()), "{isa} {f:?}: {x:?}");
            }
        }
    }

    #[test]
    fn the_ends_of_the_range_stay_finite() {
        for isa in Isa::available() {
            for f in [Function::Exp, Function::Sigmoid, Function::Tanh] {
                let mut x = [
                    -1e30,
                    -200.0,
                    0.0,
                    200.0,
                    1e30,
                    f32::INFINITY,
                    f32::NEG_INFINITY,
                ];
                apply(isa, f, &mut x);
                assert!(x.iter().all(|y| y.is_finite()), "{isa} {f:?}: {x:?}");
            }
        }
    }
}
