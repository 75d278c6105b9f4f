//! Operand types of products: `f32`, or bf16 in pairs.
//!
//! A bf16 is the upper half of an `f32`: the same range, 8 bits of precision instead of 24. Processors with bf16
//! instructions multiply two pairs and add both products to an `f32` in one instruction, twice the work of a multiply-add.
//!
//! ```text
//! sum = (sum + a1 b1) + a0 b0        rounded to f32 after each addition
//! ```
//!
//! A pair is packed into the 32 bits of an `f32`, the first of the two in the lower half. Here 32 bits are called a *lane*,
//! as in a vector, and a lane holds one `f32` or one pair. Lanes lie in slices of `f32` in either case, so the code that
//! moves operands, and the [kernel](super::kernel) with its strides, works on both. Pairs run along the channels of a
//! pixel; where the number of channels is odd, the last channel is paired with zero.
//!
//! Processors without the instruction compute a pair in several steps. The result is the same, except that the instruction
//! takes numbers below 1.2e-38 for zero.

use std::cell::Cell;

use super::after::ScaleShiftRelu;
use super::simd::Simd;

/// The operand type of the products of convolutions, in inference. Sums are `f32` in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// `f32`.
    #[default]
    F32,
    /// Weights and activations rounded to bf16; on a GPU, to f16, its own 16-bit format.
    Bf16,
}

thread_local! {
    static SCOPED: Cell<Precision> = const { Cell::new(Precision::F32) };
}

impl Precision {
    /// Returns the precision of operations called from this thread that record no gradient: that of the innermost
    /// [`Precision::scope`], else `f32`.
    pub fn current() -> Self {
        SCOPED.get()
    }

    /// Runs `body` with this precision. Only the calling thread is affected, as by [`Isa::scope`](super::Isa::scope).
    pub fn scope<R>(self, body: impl FnOnce() -> R) -> R {
        struct Restore(Precision);
        impl Drop for Restore {
            fn drop(&mut self) {
                SCOPED.set(self.0);
            }
        }
        let _restore = Restore(SCOPED.replace(self));
        body()
    }

    /// Numbers in a lane.
    pub fn per_lane(self) -> usize {
        match self {
            Precision::F32 => 1,
            Precision::Bf16 => 2,
        }
    }

    /// Lanes that hold `channels` numbers.
    pub fn lanes(self, channels: usize) -> usize {
        channels.div_ceil(self.per_lane())
    }

    /// Rounds `x` to this precision.
    pub fn round(self, x: f32) -> f32 {
        match self {
            Precision::F32 => x,
            Precision::Bf16 => f32::from_bits(round(x) << 16),
        }
    }
}

/// Returns the nearest bf16 in the lower half of the result; ties go to the even one, numbers below the normal range to zero.
fn round(x: f32) -> u32 {
    let bits = x.to_bits();
    if x.is_nan() {
        return (bits >> 16) | 0x40;
    }
    if x.abs() < f32::MIN_POSITIVE {
        return (bits >> 16) & 0x8000;
    }
    // Adds just below half of the last kept bit, and one more where that bit is odd.
    (bits + 0x7fff + ((bits >> 16) & 1)) >> 16
}

/// Rounds two numbers and packs them into one lane.
pub(crate) fn pair(low: f32, high: f32) -> f32 {
    f32::from_bits(round(high) << 16 | round(low))
}

/// Unpacks the two numbers of a lane.
#[cfg(test)]
pub(crate) fn unpair(lane: f32) -> [f32; 2] {
    let bits = lane.to_bits();
    [bits << 16, bits & 0xffff_0000].map(f32::from_bits)
}

/// Packs neighbours into pairs, without bf16 instructions: the numbers of `low`, then those of `high`, as one vector.
#[inline(always)]
pub(crate) fn pairs_in_software<S: Simd>(s: S, low: S::V, high: S::V) -> S::V {
    let (mut numbers, mut lanes) = ([0.0; 32], [0.0; 16]);
    s.store(&mut numbers, low);
    s.store(&mut numbers[S::LANES..], high);
    for (lane, numbers) in lanes.iter_mut().zip(numbers.as_chunks::<2>().0) {
        *lane = pair(numbers[0], numbers[1]);
    }
    s.load(&lanes)
}

/// Copies one pixel's channels as pairs: `to = max(0, from * scale + shift)`, or `to = from` where `before` is `None`.
#[inline(always)]
pub(crate) fn copy_as_pairs<S: Simd>(
    s: S,
    before: Option<ScaleShiftRelu>,
    from: &[f32],
    to: &mut [f32],
) {
    match before {
        None => copy_mapped(
            s,
            from,
            to,
            #[inline(always)]
            |_, x| x,
            |_, x| x,
        ),
        Some(f) => copy_mapped(
            s,
            from,
            to,
            #[inline(always)]
            |c, x| f.apply(s, x, c),
            |c, x| f.apply_one(x, c),
        ),
    }
}

#[inline(always)]
fn copy_mapped<S: Simd>(
    s: S,
    from: &[f32],
    to: &mut [f32],
    vector: impl Fn(usize, S::V) -> S::V,
    one: impl Fn(usize, f32) -> f32,
) {
    let to = &mut to[..from.len().div_ceil(2)];
    let whole = from.len() - from.len() % (2 * S::LANES);
    for c in (0..whole).step_by(2 * S::LANES) {
        let low = vector(c, s.load(&from[c..]));
        let high = vector(c + S::LANES, s.load(&from[c + S::LANES..]));
        s.store(&mut to[c / 2..], s.pairs(low, high));
    }
    for c in (whole..from.len()).step_by(2) {
        let second = from.get(c + 1).map_or(0.0, |&x| one(c + 1, x));
        to[c / 2] = pair(one(c, from[c]), second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Isa;
    use crate::cpu::simd::WithSimd;

    // Numbers of every size, some between two bf16s.
    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 8
        };
        let mut number = || {
            let (mantissa, exponent) = (next() as f32 / (1 << 23) as f32 - 1.0, next() % 40);
            mantissa * 2.0f32.powi(exponent as i32 - 20)
        };
        (0..n).map(|_| number()).collect()
    }

    #[test]
    fn rounding_is_to_the_nearest_and_ties_are_even() {
        let rounded = |x: f32| unpair(pair(x, 0.0))[0];
        assert_eq!(rounded(1.0), 1.0);
        // One and a half of the last place, and one half.
        assert_eq!(rounded(1.0 + 3.0 / 256.0), 1.0 + 4.0 / 256.0);
        assert_eq!(rounded(1.0 + 1.0 / 256.0), 1.0);
        assert_eq!(rounded(-1.0 - 1.01 / 256.0), -1.0 - 2.0 / 256.0);
        assert_eq!(rounded(f32::MAX), f32::INFINITY);
        assert_eq!(rounded(1e-39), 0.0);
        assert!(rounded(f32::NAN).is_nan() && rounded(f32::from_bits(0x7f80_0001)).is_nan());
        for x in numbers(1000, 1) {
            assert_eq!(rounded(x), half::bf16::from_f32(x).to_f32());
        }
    }

    #[test]
    fn every_instruction_set_makes_the_same_words_and_sums() {
        struct Products<'a>(&'a [f32], &'a [f32]);
        impl WithSimd for Products<'_> {
            type Output = (Vec<f32>, Vec<f32>);
            #[inline(always)]
            fn run<S: Simd>(self, s: S) -> Self::Output {
                let Products(a, b) = self;
                let [mut lanes, other] = [a, b].map(|x| {
                    let mut lanes = vec![0.0; x.len() / 2];
                    copy_as_pairs(s, None, x, &mut lanes);
                    lanes
                });
                let mut sums = vec![0.25; lanes.len()];
                for i in (0..sums.len()).step_by(S::LANES) {
                    let sum =
                        s.dot_pairs(s.load(&lanes[i..]), s.load(&other[i..]), s.load(&sums[i..]));
                    s.store(&mut sums[i..], sum);
                }
                lanes.extend(other);
                (lanes, sums)
            }
        }
        let (a, b) = (numbers(640, 1), numbers(640, 2));
        let naive: Vec<f32> = [&a, &b]
            .into_iter()
            .flat_map(|x| x.chunks(2).map(|x| pair(x[0], x[1])))
            .collect();
        let (x, y) = naive.split_at(320);
        let want: Vec<f32> = (x.iter().zip(y))
            .map(|(&x, &y)| {
                let ([x0, x1], [y0, y1]) = (unpair(x), unpair(y));
                x0.mul_add(y0, x1.mul_add(y1, 0.25))
            })
            .collect();
        let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        for isa in Isa::available() {
            // By the instruction, where there is one, and in steps.
            for (lanes, sums) in [
                isa.dispatch_pairs(Products(&a, &b)),
                isa.dispatch(Products(&a, &b)),
            ] {
                assert_eq!(bits(&lanes), bits(&naive), "{isa}");
                // Portable vectors may have no multiply-add that rounds once.
                for (&sum, &want) in sums.iter().zip(&want) {
                    assert!((sum - want).abs() <= 1e-6 * want.abs().max(0.25), "{isa}");
                }
            }
        }
    }

    #[test]
    fn odd_channels_end_in_a_zero() {
        struct Copy<'a>(&'a [f32], Option<ScaleShiftRelu<'a>>);
        impl WithSimd for Copy<'_> {
            type Output = Vec<f32>;
            #[inline(always)]
            fn run<S: Simd>(self, s: S) -> Vec<f32> {
                let mut lanes = vec![f32::NAN; self.0.len().div_ceil(2)];
                copy_as_pairs(s, self.1, self.0, &mut lanes);
                lanes
            }
        }
        for n in [0, 1, 2, 3, 31, 32, 33, 67] {
            let (x, scale, shift) = (numbers(n, 1), numbers(n, 2), numbers(n, 3));
            let f = ScaleShiftRelu {
                scale: &scale,
                shift: &shift,
            };
            for isa in Isa::available() {
                let plain = isa.dispatch_pairs(Copy(&x, None));
                let mapped = isa.dispatch_pairs(Copy(&x, Some(f)));
                assert_eq!((plain.len(), mapped.len()), (n.div_ceil(2), n.div_ceil(2)));
                for (i, (plain, mapped)) in plain.into_iter().zip(mapped).enumerate() {
                    let of = |map: &dyn Fn(usize) -> f32| {
                        [2 * i, 2 * i + 1].map(|c| if c < n { map(c) } else { 0.0 })
                    };
                    let want = of(&|c| unpair(pair(x[c], 0.0))[0]);
                    assert_eq!(unpair(plain), want);
                    for (got, want) in unpair(mapped)
                        .into_iter()
                        .zip(of(&|c| f.apply_one(x[c], c)))
                    {
                        assert!(
                            (got - want).abs() <= want.abs() / 200.0 + 1e-6,
                            "{isa} {got} {want}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_scope_ends_with_its_body() {
        assert_eq!(Precision::current(), Precision::F32);
        Precision::Bf16.scope(|| assert_eq!(Precision::current(), Precision::Bf16));
        assert_eq!(Precision::current(), Precision::F32);
    }
}
