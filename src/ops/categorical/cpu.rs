//! Inversion with vectors: the powers are summed in blocks, so that only one block is looked through word by word.

use super::Draw;
use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, math};

// Below this the exponential is too small for an `f32` without a loss of digits, and counts as 0.
const SMALLEST: f32 = -87.0;

// Powers that are summed in `f32` before they join the total, a multiple of every vector's length.
const BLOCK: usize = 256;

/// The word drawn from one row, or none where there is no finite sum to draw from.
pub(crate) fn row(isa: Isa, draw: Draw, logits: &[f32], uniform: f32) -> Option<usize> {
    let mut powers = logits.to_vec();
    for &word in draw.barred {
        if let Some(power) = powers.get_mut(word) {
            *power = f32::NEG_INFINITY;
        }
    }
    let sums = isa.dispatch(Powers {
        powers: &mut powers,
        inverse: draw.inverse,
    });
    let total: f64 = sums.iter().sum();
    if !total.is_finite() || total <= 0.0 {
        return None;
    }
    let target = f64::from(uniform) * total;
    let mut before = 0.0;
    for ((block, sum), first) in powers.chunks(BLOCK).zip(sums).zip((0..).step_by(BLOCK)) {
        if before + sum > target {
            return within(block, target - before).map(|word| first + word);
        }
        before += sum;
    }
    // Rounding may keep the sum below the target for a number next to 1.
    powers.iter().rposition(|&p| p > 0.0)
}

/// The first word of a block whose cumulated powers exceed `target`; the last that has any power where rounding keeps
/// them below.
fn within(powers: &[f32], target: f64) -> Option<usize> {
    let mut sum = 0.0;
    let passes = powers.iter().position(|&p| {
        sum += f64::from(p);
        sum > target
    });
    passes.or_else(|| powers.iter().rposition(|&p| p > 0.0))
}

/// Replaces logits by `e^((x - largest) inverse)`, and yields the sum of each block.
struct Powers<'a> {
    powers: &'a mut [f32],
    inverse: f32,
}

impl WithSimd for Powers<'_> {
    type Output = Vec<f64>;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Vec<f64> {
        let mut most = s.splat(f32::NEG_INFINITY);
        for x in self.powers.chunks(S::LANES) {
            most = s.max(load(s, x, f32::NEG_INFINITY), most);
        }
        let (largest, inverse) = (s.splat(s.largest(most)), s.splat(self.inverse));
        let (zero, smallest) = (s.splat(0.0), s.splat(SMALLEST));
        // Loops, not closures: a closure is compiled without the instruction set unless the compiler inlines it.
        let mut sums = Vec::with_capacity(self.powers.len().div_ceil(BLOCK));
        for block in self.powers.chunks_mut(BLOCK) {
            let mut sum = zero;
            for x in block.chunks_mut(S::LANES) {
                let v = load(s, x, f32::NEG_INFINITY);
                let exponent = s.mul(s.sub(v, largest), inverse);
                let power = s.select_less(exponent, smallest, zero, math::exp(s, exponent));
                sum = s.add(sum, power);
                store(s, x, power);
            }
            sums.push(f64::from(s.sum(sum)));
        }
        sums
    }
}

#[inline(always)]
fn load<S: Simd>(s: S, x: &[f32], fill: f32) -> S::V {
    if x.len() == S::LANES {
        s.load(x)
    } else {
        s.load_part(x, fill)
    }
}

#[inline(always)]
fn store<S: Simd>(s: S, x: &mut [f32], v: S::V) {
    if x.len() == S::LANES {
        s.store(x, v);
    } else {
        s.store_part(x, v);
    }
}
