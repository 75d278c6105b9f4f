//! Diversity of captions, and how many are copied or unfinished; scores against references do not show these.

use std::collections::HashSet;

use serde::Serialize;

use super::Segment;
use crate::data::function_words::OPEN_ENDS;

/// Measures of captions that need no references. Fractions are times 100.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Diversity {
    /// The fraction of captions that are distinct: 100 if no two are equal.
    pub distinct_captions: f64,
    /// The fraction of words that are distinct, over all captions (Li et al. 2016, *distinct-1*).
    pub distinct_1grams: f64,
    /// The fraction of word pairs that are distinct (*distinct-2*).
    pub distinct_2grams: f64,
    /// The number of distinct words.
    pub vocabulary: usize,
    /// The mean number of words in a caption.
    pub words: f64,
    /// The fraction of captions that equal, word by word, a caption of the training set; `None` if the training set is
    /// not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copied: Option<f64>,
    /// The fraction of captions that end in an article or a preposition.
    pub unfinished: f64,
}

/// The captions that a model was trained on, without capitals and punctuation.
#[derive(Debug, Clone, Default)]
pub struct Training(HashSet<String>);

impl Training {
    /// Collects these captions.
    pub fn new<'a>(captions: impl IntoIterator<Item = &'a str>) -> Self {
        Training(captions.into_iter().map(plain).collect())
    }

    /// Whether `caption` is one of them.
    pub fn has(&self, caption: &str) -> bool {
        self.0.contains(&plain(caption))
    }
}

/// Returns the words of a caption in lower case, without punctuation.
fn plain(caption: &str) -> String {
    let is_of_word = |c: char| c.is_alphanumeric() || c == '-' || c == '\'';
    let words = caption.split(|c| !is_of_word(c));
    let words: Vec<&str> = words
        .filter(|w| w.contains(char::is_alphanumeric))
        .collect();
    words.join(" ").to_lowercase()
}

impl Diversity {
    /// Measures captions, given as tokens and as texts. All empty captions count as equal.
    pub(super) fn of(segments: &[Segment], texts: &[&str], training: Option<&Training>) -> Self {
        let captions = || segments.iter().map(|segment| segment.hypothesis.as_slice());
        let share = |part: usize, all: usize| 100.0 * part as f64 / all.max(1) as f64;
        let count = segments.len();
        let distinct = |order: usize| {
            let all = captions().map(|words| (words.len() + 1).saturating_sub(order));
            let different: HashSet<&[String]> =
                captions().flat_map(|words| words.windows(order)).collect();
            (different.len(), all.sum::<usize>())
        };
        let ends_open = |words: &&[String]| {
            words
                .last()
                .is_some_and(|word| OPEN_ENDS.contains(&word.as_str()))
        };
        let ((words, all_words), (pairs, all_pairs)) = (distinct(1), distinct(2));
        Diversity {
            distinct_captions: share(captions().collect::<HashSet<_>>().len(), count),
            distinct_1grams: share(words, all_words),
            distinct_2grams: share(pairs, all_pairs),
            vocabulary: words,
            words: all_words as f64 / count.max(1) as f64,
            copied: training.map(|training| {
                share(
                    texts.iter().filter(|text| training.has(text)).count(),
                    count,
                )
            }),
            unfinished: share(captions().filter(ends_open).count(), count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_counted() {
        let texts = ["a dog runs", "A dog runs.", "a man with a", ""];
        let segments = texts.map(|text| Segment {
            hypothesis: super::super::ptb::tokenize(text),
            references: vec![],
        });
        let training = Training::new(["A dog, runs!", "two dogs"]);
        let found = Diversity::of(&segments, &texts, Some(&training));
        assert_eq!(found.distinct_captions, 75.0);
        // a, dog, runs, man, with; ten words in all.
        assert_eq!(found.distinct_1grams, 50.0);
        // a dog, dog runs, a man, man with, with a; of 2 + 2 + 3.
        assert!((found.distinct_2grams - 500.0 / 7.0).abs() < 1e-9);
        assert_eq!(found.vocabulary, 5);
        assert_eq!(found.words, 2.5);
        assert_eq!(found.copied, Some(50.0));
        assert_eq!(found.unfinished, 25.0);
        let none = Diversity::of(&[], &[], None);
        assert_eq!((none.distinct_1grams, none.copied), (0.0, None));
    }
}
