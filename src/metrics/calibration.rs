//! Calibration: whether predicted probabilities agree with observed frequencies.
//!
//! Of the captions with a confidence of 0.7, 70% should be right. A pair is a probability `p` and its outcome (0 or 1).
//! The **reliability diagram** sorts pairs into ten bins by `p` and compares the mean of both in each bin. The
//! **expected calibration error** (Naeini et al., 2015; Guo et al., 2017, arXiv 1706.04599) is the mean of the
//! distances between them:
//!
//! ```text
//! error = sum over bins of  n / N |mean of p - fraction with outcome 1|        n pairs of N are in the bin
//! ```
//!
//! **AUROC** is the probability that a random pair with outcome 1 has a larger `p` than a random pair with outcome 0;
//! equal ones count half (Hanley and McNeil, 1982). 0.5 is chance.

use serde::Serialize;

/// The number of bins of the reliability diagram.
const BINS: usize = 10;

/// A bin of the reliability diagram.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bin {
    /// The lower bound of the probabilities in this bin, inclusive.
    pub from: f64,
    /// The number of pairs in it.
    pub count: usize,
    /// The mean probability.
    pub mean: f64,
    /// The fraction of pairs with outcome 1.
    pub right: f64,
}

/// Computes the bins that are not empty, in ascending order. A probability of 1 is in the last bin.
pub fn reliability(pairs: &[(f64, bool)]) -> Vec<Bin> {
    let bin_of = |p: f64| ((p * BINS as f64) as usize).min(BINS - 1);
    let bin = |at: usize| {
        let inside = || pairs.iter().filter(|(p, _)| bin_of(*p) == at);
        let count = inside().count();
        let mean = |sum: f64| sum / count.max(1) as f64;
        Bin {
            from: at as f64 / BINS as f64,
            count,
            mean: mean(inside().map(|(p, _)| p).sum()),
            right: mean(inside().filter(|(_, right)| *right).count() as f64),
        }
    };
    (0..BINS).map(bin).filter(|bin| bin.count > 0).collect()
}

/// Computes the expected calibration error, 0 to 1; 0 if there are no pairs.
pub fn calibration_error(pairs: &[(f64, bool)]) -> f64 {
    let distance = |bin: &Bin| bin.count as f64 * (bin.mean - bin.right).abs();
    let sum: f64 = reliability(pairs).iter().map(distance).sum();
    sum / pairs.len().max(1) as f64
}

/// Computes the AUROC; `None` if all outcomes are equal.
pub fn auroc(pairs: &[(f64, bool)]) -> Option<f64> {
    let mut sorted = pairs.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let trues = pairs.iter().filter(|(_, right)| *right).count();
    let falses = pairs.len() - trues;
    let (mut below, mut sum) = (0.0, 0.0);
    for equal in sorted.chunk_by(|a, b| a.0 == b.0) {
        let right = equal.iter().filter(|(_, right)| *right).count() as f64;
        let wrong = equal.len() as f64 - right;
        sum += right * (below + wrong / 2.0);
        below += wrong;
    }
    (trues > 0 && falses > 0).then(|| sum / (trues as f64 * falses as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bins_hold_means_and_shares() {
        let pairs = [
            (0.05, false),
            (0.07, true),
            (0.92, true),
            (1.0, true),
            (0.95, false),
        ];
        let bins = reliability(&pairs);
        assert_eq!(bins.len(), 2);
        assert_eq!((bins[0].count, bins[1].count), (2, 3));
        assert!((bins[0].mean - 0.06).abs() < 1e-12 && bins[0].right == 0.5);
        assert!((bins[1].right - 2.0 / 3.0).abs() < 1e-12);
        let want = 2.0 / 5.0 * 0.44 + 3.0 / 5.0 * (2.87 / 3.0 - 2.0 / 3.0);
        assert!((calibration_error(&pairs) - want).abs() < 1e-12);
        assert_eq!(calibration_error(&[]), 0.0);
    }

    #[test]
    fn auroc_counts_pairs_in_order() {
        assert_eq!(auroc(&[(0.1, false), (0.9, true)]), Some(1.0));
        assert_eq!(auroc(&[(0.9, false), (0.1, true)]), Some(0.0));
        assert_eq!(auroc(&[(0.5, false), (0.5, true)]), Some(0.5));
        assert_eq!(auroc(&[(0.5, true)]), None);
    }

    proptest! {
        #[test]
        fn auroc_is_the_share_of_pairs_in_order(pairs in prop::collection::vec((0..9u8, any::<bool>()), 0..30)) {
            let pairs: Vec<(f64, bool)> = pairs.into_iter().map(|(p, right)| (f64::from(p) / 8.0, right)).collect();
            let (mut sum, mut count) = (0.0, 0);
            for a in pairs.iter().filter(|a| a.1) {
                for b in pairs.iter().filter(|b| !b.1) {
                    sum += if a.0 > b.0 { 1.0 } else if a.0 == b.0 { 0.5 } else { 0.0 };
                    count += 1;
                }
            }
            match auroc(&pairs) {
                Some(found) => prop_assert!((found - sum / f64::from(count)).abs() < 1e-12),
                None => prop_assert_eq!(count, 0),
            }
        }
    }
}
