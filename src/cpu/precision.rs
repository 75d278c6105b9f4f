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
//! treats numbers below 1.2e-38 as zero.

use std::cell::Cell;

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

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    // Returns numbers of every size, some between two bf16s.
    pub(in crate::cpu) fn numbers(n: usize, seed: u32) -> Vec<f32> {
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
    fn a_scope_ends_with_its_body() {
        assert_eq!(Precision::current(), Precision::F32);
        Precision::Bf16.scope(|| assert_eq!(Precision::current(), Precision::Bf16));
        assert_eq!(Precision::current(), Precision::F32);
    }
}
