//! From logits to log-probabilities, `log p = x - ln sum exp x`.

use crate::cpu::Isa;
use crate::ops::top_k::log_sum_exp;

/// Converts logits `[V]` to log-probabilities, in `f64`.
pub(super) fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let shift = log_sum_exp(Isa::current(), logits);
    logits.iter().map(|&x| f64::from(x) - shift).collect()
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
