//! ROUGE-L: the longest common subsequence of a caption and a reference.
//!
//! With L(c, s) the length of the longest common subsequence of caption `c` and reference `s`,
//!
//! ```text
//! P = max over s of L(c, s) / |c|        R = max over s of L(c, s) / |s|
//! ROUGE-L = (1 + beta^2) P R / (R + beta^2 P),    beta = 1.2
//! ```
//!
//! Each maximum is taken separately, so they may come from different references. That and beta are the COCO
//! evaluation's choice. The score of a set of captions is the mean over its images.
//!
//! Lin, *ROUGE: a package for automatic evaluation of summaries*, ACL workshop 2004.

/// The weight of recall relative to precision.
const BETA: f64 = 1.2;

/// Computes the score of one caption, between 0 and 1.
///
/// ```
/// use glimpse::metrics::rouge;
///
/// let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
/// // "a dog ... fast" is common: P = 3/4, R = 3/3.
/// let score = rouge::sentence(&words("a dog runs fast"), &[words("a dog fast")]);
/// assert!((score - 2.44 * 0.75 / (1.0 + 1.44 * 0.75)).abs() < 1e-12);
/// ```
pub fn sentence(hypothesis: &[String], references: &[Vec<String>]) -> f64 {
    // The COCO evaluation splits at spaces, which turns an empty text into one empty word.
    let empty = [String::new()];
    let words = |tokens: &'_ [String]| if tokens.is_empty() { 1 } else { tokens.len() };
    let (mut precision, mut recall) = (0.0f64, 0.0f64);
    for reference in references {
        let common = match (hypothesis, reference.as_slice()) {
            ([], []) => common(&empty, &empty),
            (hypothesis, reference) => common(hypothesis, reference),
        } as f64;
        precision = precision.max(common / words(hypothesis) as f64);
        recall = recall.max(common / words(reference) as f64);
    }
    if precision == 0.0 || recall == 0.0 {
        return 0.0;
    }
    let square = BETA * BETA;
    (1.0 + square) * precision * recall / (recall + square * precision)
}

/// Computes the length of the longest common subsequence, keeping one row of the usual table at a time.
fn common(a: &[String], b: &[String]) -> usize {
    let mut row = vec![0; b.len() + 1];
    for word in a {
        let mut diagonal = 0;
        for (column, other) in (1..).zip(b) {
            let above = row[column];
            row[column] = if word == other {
                diagonal + 1
            } else {
                above.max(row[column - 1])
            };
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_longest_common_subsequence() {
        for (a, b, length) in [
            ("", "a", 0),
            ("a b c d", "a x c d", 3),
            ("a b c", "c b a", 1),
            ("a a a", "a a", 2),
            ("x a y b z c", "a b c", 3),
        ] {
            assert_eq!(common(&words(a), &words(b)), length, "{a} and {b}");
            assert_eq!(common(&words(b), &words(a)), length, "{b} and {a}");
        }
    }

    #[test]
    fn precision_and_recall_may_come_from_different_references() {
        let references = [words("a dog runs x y z"), words("dog")];
        // P = 3/3 by the first, R = 1/1 by the second.
        assert_eq!(sentence(&words("a dog runs"), &references), 1.0);
        assert_eq!(sentence(&words("cat"), &references), 0.0);
        assert_eq!(sentence(&[], &references), 0.0);
        assert_eq!(sentence(&[], &[vec![]]), 1.0);
    }
}
