//! Choosing among candidates by agreement, that is by minimum Bayes risk (Kumar and Byrne, 2004; Eikema and Aziz, 2020,
//! arXiv 2005.10283, for neural models).
//!
//! The likeliest sentence need not be the one that agrees best with the others. Suppose that the truth is one of the
//! candidates, with a probability that follows the search's own ranking. The expected similarity of a candidate `c` to
//! the truth is then
//!
//! ```text
//! agreement(c) = sum over candidates s of weight(s) similarity(c, s)
//!
//! weight(s) ~ e^(score(s) L^a) = p(s)^((L / length(s))^a)       L: the mean length, score(s) = log p(s) / length(s)^a
//! ```
//!
//! The best candidate is the one with the largest agreement. A candidate agrees with itself wholly, which favours
//! likely candidates. The weights add up to 1. With a length penalty `a` of 0 they are the model's probabilities.
//! Otherwise the probabilities are compensated for length in the same way as the search's ranking; without that,
//! agreement would favour short sentences.
//!
//! ```text
//! similarity(a, b) = mean over n = 1..N of  2 matches / (n-grams of a + n-grams of b)      N = 4, less for short ones
//! ```
//!
//! This similarity is the F1 of the n-grams: `matches` counts each n-gram as often as it occurs in both sentences. It
//! is 1 for equal sentences and 0 for sentences without a common word. A length `n` counts if at least one of the two
//! sentences has n-grams of that length.

use super::sentence::Sentence;
use super::settings::Search;
use crate::data::vocabulary::END;

/// Length of the longest n-grams that are compared.
const MAX_ORDER: usize = 4;

/// Sorts the `candidates` by their agreement, the highest first. Candidates with equal agreement keep their order.
pub(super) fn by_agreement(candidates: Vec<Sentence>, how: &Search) -> Vec<Sentence> {
    let words: Vec<Vec<usize>> = candidates.iter().map(words).collect();
    let weights = weights(&candidates, how);
    let agreement = |c: &[usize]| -> f64 {
        let similarities = words.iter().map(|other| similarity(c, other));
        similarities.zip(&weights).map(|(s, w)| s * w).sum()
    };
    let scores: Vec<f64> = words.iter().map(|c| agreement(c)).collect();
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let mut candidates: Vec<Option<Sentence>> = candidates.into_iter().map(Some).collect();
    order
        .into_iter()
        .filter_map(|i| candidates[i].take())
        .collect()
}

/// Computes the agreement of `sentence` with all `candidates`, from 0 to 1.
pub(super) fn with(sentence: &Sentence, candidates: &[Sentence], how: &Search) -> f64 {
    let own = words(sentence);
    let similarities = candidates
        .iter()
        .map(|other| similarity(&own, &words(other)));
    similarities
        .zip(weights(candidates, how))
        .map(|(s, w)| s * w)
        .sum()
}

/// Returns the ids of a sentence's words, without the end mark.
fn words(sentence: &Sentence) -> Vec<usize> {
    sentence.ids().filter(|&id| id != END as usize).collect()
}

/// Computes the candidates' weights: probabilities compensated for length, which add up to 1.
fn weights(candidates: &[Sentence], how: &Search) -> Vec<f64> {
    let words: usize = candidates.iter().map(|s| s.words.len()).sum();
    let length = (words as f64 / candidates.len() as f64).powf(how.length_penalty);
    let logs: Vec<f64> = candidates.iter().map(|s| how.score(s) * length).collect();
    let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = logs.iter().map(|log| (log - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|p| p / sum).collect()
}

/// Computes the mean F1 of the n-grams, from 0 to 1.
fn similarity(a: &[usize], b: &[usize]) -> f64 {
    let longest = a.len().max(b.len()).min(MAX_ORDER);
    if longest == 0 {
        return 1.0;
    }
    let f1 = |n: usize| {
        let grams = |words: &[usize]| (words.len() + 1).saturating_sub(n) as f64;
        2.0 * matches(a, b, n) as f64 / (grams(a) + grams(b))
    };
    (1..=longest).map(f1).sum::<f64>() / longest as f64
}

/// Counts the n-grams of `a` that find an equal one in `b`; each n-gram of `b` is matched once at most. Sentences are
/// short, so comparing all pairs is faster than building a table.
fn matches(a: &[usize], b: &[usize], n: usize) -> usize {
    let mut free = vec![true; b.len()];
    let mut count = 0;
    for gram in a.windows(n) {
        let partner = b
            .windows(n)
            .zip(&mut free)
            .find(|(g, free)| **free && *g == gram);
        if let Some((_, free)) = partner {
            *free = false;
            count += 1;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caption::sentence::Word;
    use proptest::prelude::*;

    fn sentence(ids: &[usize], log_prob: f64) -> Sentence {
        let mut sentence = Sentence::default();
        for (i, &id) in ids.iter().chain(&[END as usize]).enumerate() {
            let log_prob = if i == 0 { log_prob } else { 0.0 };
            let word = Word {
                id,
                log_prob,
                attention: None,
            };
            sentence.push(word, log_prob);
        }
        sentence
    }

    #[test]
    fn similarity_is_the_mean_f1() {
        assert_eq!(similarity(&[4, 5, 6], &[4, 5, 6]), 1.0);
        assert_eq!(similarity(&[4, 5], &[6, 7]), 0.0);
        // Unigrams: 2 of 2 and 3, F1 0.8. Bigrams: 1 of 1 and 2, F1 2/3. Trigrams: none of 0 and 1.
        let want = (0.8 + 2.0 / 3.0 + 0.0) / 3.0;
        assert!((similarity(&[4, 5], &[4, 5, 6]) - want).abs() < 1e-12);
        // A word that occurs once matches once: 1 of 3 and 1, F1 0.5; the longer n-grams match nothing.
        assert!((similarity(&[4, 4, 4], &[4]) - 0.5 / 3.0).abs() < 1e-12);
        assert_eq!(similarity(&[], &[]), 1.0);
        assert_eq!(similarity(&[], &[4]), 0.0);
    }

    #[test]
    fn the_sentence_that_most_others_resemble_is_first() {
        // The likeliest resembles no other; the other two resemble each other and have more than half of the
        // probability.
        let candidates = vec![
            sentence(&[10, 11, 12], 0.4f64.ln()),
            sentence(&[4, 5, 6, 7], 0.25f64.ln()),
            sentence(&[4, 5, 6, 8], 0.35f64.ln()),
        ];
        let how = Search {
            length_penalty: 0.0,
            ..Search::default()
        };
        let best = by_agreement(candidates.clone(), &how);
        assert_eq!(best[0], candidates[2]);
        assert_eq!(best[1], candidates[1]);
        assert_eq!(best[2], candidates[0]);
        // A candidate that is nearly certain wins although it resembles no other.
        let mut sure = candidates.clone();
        sure[0] = sentence(&[10, 11, 12], 0.0);
        sure[1] = sentence(&[4, 5, 6, 7], -9.0);
        sure[2] = sentence(&[4, 5, 6, 8], -9.0);
        assert_eq!(by_agreement(sure.clone(), &how)[0], sure[0]);
        assert!(by_agreement(Vec::new(), &how).is_empty());
        assert_eq!(
            by_agreement(candidates[..1].to_vec(), &how),
            candidates[..1]
        );
    }

    #[test]
    fn weights_follow_the_probabilities_or_the_scores() {
        // Four words with the end mark, and two.
        let candidates = [
            sentence(&[4, 5, 6], 0.2f64.ln()),
            sentence(&[4], 0.6f64.ln()),
        ];
        let weights = |length_penalty: f64| {
            let how = Search {
                length_penalty,
                ..Search::default()
            };
            super::weights(&candidates, &how)
        };
        let close = |got: Vec<f64>, want: f64| {
            assert!((got[0] - want).abs() < 1e-12, "{got:?}, not {want}");
            assert!((got[0] + got[1] - 1.0).abs() < 1e-12);
        };
        close(weights(0.0), 0.25);
        // The mean length is 3: probabilities to the powers of 3/4 and 3/2.
        let [long, short] = [0.2f64.powf(0.75), 0.6f64.powf(1.5)];
        close(weights(1.0), long / (long + short));
    }

    proptest! {
        #[test]
        fn similarity_is_symmetric_and_within_its_bounds(
            a in prop::collection::vec(4..9usize, 0..9),
            b in prop::collection::vec(4..9usize, 0..9),
        ) {
            let s = similarity(&a, &b);
            prop_assert!((0.0..=1.0).contains(&s));
            prop_assert!((s - similarity(&b, &a)).abs() < 1e-12);
            prop_assert_eq!(similarity(&a, &a), 1.0);
        }
    }
}
