//! From logits to log-probabilities, `log p = x - ln sum exp x`.

use crate::cpu::simd::{Simd, WithSimd};
use crate::cpu::{Isa, math};

// Powers that are added up in `f32` before they join the sum, a multiple of every vector's length; few enough that
// the rounding of a long vocabulary does not pile up.
const BLOCK: usize = 256;

/// `ln sum exp x` over logits `[V]`: by how much each exceeds its log-probability.
pub(super) fn log_sum_exp(isa: Isa, logits: &[f32]) -> f64 {
    isa.dispatch(LogSumExp(logits))
}

/// Logits `[V]` to log-probabilities, in `f64`.
pub(super) fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let shift = log_sum_exp(Isa::current(), logits);
    logits.iter().map(|&x| f64::from(x) - shift).collect()
}

struct LogSumExp<'a>(&'a [f32]);

impl WithSimd for LogSumExp<'_> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f64 {
        let mut most = s.splat(f32::NEG_INFINITY);
        let vectors = self.0.chunks_exact(S::LANES);
        let tail = vectors.remainder();
        for x in vectors {
            most = s.max(s.load(x), most);
        }
        most = s.max(s.load_part(tail, f32::NEG_INFINITY), most);
        let largest = s.largest(most);

        let (shift, mut total) = (s.splat(largest), 0.0);
        for block in self.0.chunks(BLOCK) {
            let mut sum = s.splat(0.0);
            let vectors = block.chunks_exact(S::LANES);
            let tail = vectors.remainder();
            for x in vectors {
                sum = s.add(sum, math::exp(s, s.sub(s.load(x), shift)));
            }
            // What fills the last vector has no power to speak of.
            let last = s.load_part(tail, f32::NEG_INFINITY);
            sum = s.add(sum, math::exp(s, s.sub(last, shift)));
            total += f64::from(s.sum(sum));
        }
        f64::from(largest) + total.ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_that_of_its_definition() {
        for isa in Isa::available() {
            for size in [1, 7, 8, 255, 256, 2538] {
                let logits: Vec<f32> = (0..size).map(|i| (i * 37 % 101) as f32 / 5.0).collect();
                let exact: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
                let error = log_sum_exp(isa, &logits) - exact.ln();
                assert!(error.abs() < 1e-6, "{size}: {error}");
            }
            assert!((log_sum_exp(isa, &[1e4, -1e30]) - 1e4).abs() < 1e-6);
        }
    }

    #[test]
    fn probabilities_add_up_to_one() {
        let sum: f64 = log_softmax(&[3.0, -2.0, 0.5])
            .into_iter()
            .map(f64::exp)
            .sum();
        assert!((sum - 1.0).abs() < 1e-6);
    }
}
