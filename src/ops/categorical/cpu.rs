//! SIMD kernel. The exponentials are summed in blocks, so only one block has to be searched word by word.

use super::Job;
use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, math, threads};

// Exponents below this give a subnormal `f32`, which counts as 0.
const SMALLEST: f32 = -87.0;

// Exponentials that are summed in `f32` before they are added to the `f64` total; a multiple of every vector's length.
const BLOCK: usize = 256;

/// The word drawn from each row; `None` if the sum of the exponentials is not finite or no word may be drawn. Each task
/// takes one row.
pub(crate) fn forward(isa: Isa, job: &Job) -> Vec<Option<usize>> {
    let x = job.logits.data();
    threads::map(job.rows, |r| {
        let x = &x[r * job.words..][..job.words];
        draw(isa, job, x, job.uniform[r])
    })
}

/// The word drawn from the row `x` with the random number `u`.
fn draw(isa: Isa, job: &Job, x: &[f32], u: f32) -> Option<usize> {
    let mut exponentials = x.to_vec();
    for &word in job.barred {
        if let Some(exponential) = exponentials.get_mut(word) {
            *exponential = f32::NEG_INFINITY;
        }
    }
    let sums = isa.dispatch(Exponentials {
        exponentials: &mut exponentials,
        inverse: job.inverse,
    });
    let total: f64 = sums.iter().sum();
    if !total.is_finite() || total <= 0.0 {
        return None;
    }
    let target = f64::from(u) * total;
    let mut before = 0.0;
    for ((block, sum), first) in exponentials
        .chunks(BLOCK)
        .zip(sums)
        .zip((0..).step_by(BLOCK))
    {
        if before + sum > target {
            return within(block, target - before).map(|word| first + word);
        }
        before += sum;
    }
    // For a random number close to 1, rounding may keep the sum below the target.
    exponentials.iter().rposition(|&p| p > 0.0)
}

/// The first word of a block at which the cumulative sum exceeds `target`; if rounding keeps it below, the last word whose
/// exponential is above 0.
fn within(exponentials: &[f32], target: f64) -> Option<usize> {
    let mut sum = 0.0;
    let passes = exponentials.iter().position(|&p| {
        sum += f64::from(p);
        sum > target
    });
    passes.or_else(|| exponentials.iter().rposition(|&p| p > 0.0))
}

/// Replaces logits by `e^((x - largest) inverse)`; returns the sum of each block.
struct Exponentials<'a> {
    exponentials: &'a mut [f32],
    inverse: f32,
}

impl WithSimd for Exponentials<'_> {
    type Output = Vec<f64>;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Vec<f64> {
        let mut maxima = s.splat(f32::NEG_INFINITY);
        for x in self.exponentials.chunks(S::LANES) {
            maxima = s.max(load(s, x, f32::NEG_INFINITY), maxima);
        }
        let (largest, inverse) = (s.splat(s.largest(maxima)), s.splat(self.inverse));
        let (zero, smallest) = (s.splat(0.0), s.splat(SMALLEST));
        // Loops and not closures: a closure that the compiler does not inline is compiled without the instruction set.
        let mut sums = Vec::with_capacity(self.exponentials.len().div_ceil(BLOCK));
        for block in self.exponentials.chunks_mut(BLOCK) {
            let mut sum = zero;
            for x in block.chunks_mut(S::LANES) {
                let v = load(s, x, f32::NEG_INFINITY);
                let exponent = s.mul(s.sub(v, largest), inverse);
                let exponential = s.select_less(exponent, smallest, zero, math::exp(s, exponent));
                sum = s.add(sum, exponential);
                store(s, x, exponential);
            }
            sums.push(f64::from(s.sum(sum)));
        }
        sums
    }
}

/// The vector at the start of `x`, padded with `fill` where `x` is shorter.
#[inline(always)]
fn load<S: Simd>(s: S, x: &[f32], fill: f32) -> S::V {
    if x.len() == S::LANES {
        s.load(x)
    } else {
        s.load_part(x, fill)
    }
}

/// Writes as much of the vector as `x` has room for.
#[inline(always)]
fn store<S: Simd>(s: S, x: &mut [f32], v: S::V) {
    if x.len() == S::LANES {
        s.store(x, v);
    } else {
        s.store_part(x, v);
    }
}
