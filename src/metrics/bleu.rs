//! BLEU: the precision of a caption's n-grams.
//!
//! A k-gram is a sequence of k words. The *matches* of a caption are its k-grams that some reference contains. A k-gram
//! counts at most as often as it occurs in the one reference that has it most often. Matches and totals are summed over
//! all images:
//!
//! ```text
//! p_k    = matches_k / total_k
//! BLEU_n = (p_1 p_2 ... p_n)^(1/n) * min(1, exp(1 - reference length / caption length))
//! ```
//!
//! The last factor, the brevity penalty, lowers the score of captions that are precise because they are short. An
//! image's reference length is that of the reference closest in length to its caption; if two are equally close, the
//! shorter one.
//!
//! Papineni et al., *BLEU: a method for automatic evaluation of machine translation*, ACL 2002.

use std::collections::HashMap;
use std::ops::AddAssign;

use super::Segment;

/// Length of the longest n-grams that count.
pub const MAX_ORDER: usize = 4;

/// Added to numerators, so that no logarithm or root of zero is taken ...
const TINY: f64 = 1e-15;

/// ... and to denominators, so that nothing is divided by zero. Both values are those of the COCO evaluation; others
/// would change the last digits of small scores.
const SMALL: f64 = 1e-9;

/// The counts that BLEU is computed from; they can be summed over images.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counts {
    matches: [usize; MAX_ORDER],
    totals: [usize; MAX_ORDER],
    hypothesis_length: usize,
    reference_length: usize,
}

/// Computes BLEU-1 to BLEU-4 over all images together, each between 0 and 1.
///
/// ```
/// use glimpse::metrics::{Segment, bleu};
///
/// let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
/// let segment = Segment { hypothesis: words("a dog runs"), references: vec![words("a dog jumps")] };
/// let [bleu1, bleu2, ..] = bleu::corpus(&[segment]);
/// assert!((bleu1 - 2.0 / 3.0).abs() < 1e-6);
/// assert!((bleu2 - (2.0f64 / 3.0 * 1.0 / 2.0).sqrt()).abs() < 1e-6);
/// ```
pub fn corpus(segments: &[Segment]) -> [f64; MAX_ORDER] {
    let mut counts = Counts::default();
    for segment in segments {
        counts += Counts::of(segment);
    }
    counts.bleu()
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        for order in 0..MAX_ORDER {
            self.matches[order] += other.matches[order];
            self.totals[order] += other.totals[order];
        }
        self.hypothesis_length += other.hypothesis_length;
        self.reference_length += other.reference_length;
    }
}

impl Counts {
    /// Counts one image's matches, totals and lengths.
    pub fn of(segment: &Segment) -> Counts {
        let Segment {
            hypothesis,
            references,
        } = segment;
        let length = hypothesis.len();
        let lengths = references.iter().map(Vec::len);
        let mut counts = Counts {
            hypothesis_length: length,
            reference_length: lengths
                .min_by_key(|&l| (l.abs_diff(length), l))
                .unwrap_or(0),
            ..Counts::default()
        };
        for order in 1..=MAX_ORDER {
            let mut most: HashMap<&[String], usize> = HashMap::new();
            for reference in references {
                for (sequence, count) in sequences(reference, order) {
                    let most = most.entry(sequence).or_default();
                    *most = count.max(*most);
                }
            }
            counts.totals[order - 1] = (length + 1).saturating_sub(order);
            counts.matches[order - 1] = sequences(hypothesis, order)
                .into_iter()
                .map(|(sequence, count)| most.get(sequence).map_or(0, |&most| count.min(most)))
                .sum::<usize>();
        }
        counts
    }

    /// Computes the scores from the counts.
    pub fn bleu(&self) -> [f64; MAX_ORDER] {
        let ratio = (self.hypothesis_length as f64 + TINY) / (self.reference_length as f64 + SMALL);
        let brevity = if ratio < 1.0 {
            (1.0 - 1.0 / ratio).exp()
        } else {
            1.0
        };
        let mut product = 1.0;
        let mut order = 0;
        self.matches.map(|matches| {
            product *= (matches as f64 + TINY) / (self.totals[order] as f64 + SMALL);
            order += 1;
            product.powf(1.0 / order as f64) * brevity
        })
    }
}

/// Counts each sequence of `order` words in `words`.
fn sequences(words: &[String], order: usize) -> HashMap<&[String], usize> {
    let mut counts = HashMap::new();
    for sequence in words.windows(order) {
        *counts.entry(sequence).or_default() += 1;
    }
    counts
}
