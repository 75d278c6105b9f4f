//! A summary of the data of a run on captions: pictures and captions of each split, and the vocabulary.

use super::config::TrainConfig;
use crate::data::vocabulary::{Coverage, SPECIAL_WORDS};
use crate::data::{Dataset, Split, Vocabulary};

/// The data of a run on captions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Name of the data set's format.
    pub dataset: String,
    /// The rule that made the splits, if the data set has none.
    pub split_rule: Option<&'static str>,
    /// The existing splits, with their pictures and captions.
    pub splits: Vec<SplitSize>,
    /// Number of words in the vocabulary, without special tokens.
    pub vocabulary: u64,
    /// How much of the training captions the vocabulary covers.
    pub coverage: Coverage,
    /// Minimum number of occurrences of a word of the vocabulary in the training captions.
    pub min_count: u64,
}

/// The size of a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitSize {
    /// The split.
    pub split: Split,
    /// Number of pictures.
    pub images: usize,
    /// Number of captions.
    pub captions: usize,
}

impl Summary {
    /// Summarises a run on `dataset` with this vocabulary.
    pub(super) fn of(dataset: &Dataset, vocabulary: &Vocabulary, config: &TrainConfig) -> Self {
        let mut coverage = Coverage::default();
        let mut splits = Vec::new();
        for split in [Split::Train, Split::Dev, Split::Test] {
            // Errors in a split are reported where it is used.
            let Some(captions) = dataset.captions(split).ok().filter(|c| !c.is_empty()) else {
                continue;
            };
            if split == Split::Train {
                coverage = vocabulary.coverage(captions.values().flatten());
            }
            splits.push(SplitSize {
                split,
                images: captions.len(),
                captions: captions.values().map(Vec::len).sum(),
            });
        }
        Summary {
            dataset: dataset.name().to_string(),
            split_rule: dataset.split_rule(),
            splits,
            vocabulary: (vocabulary.len() - SPECIAL_WORDS) as u64,
            coverage,
            min_count: config.min_count,
        }
    }

    /// Describes the rule that assigned pictures to the splits.
    pub fn rule(&self) -> String {
        match self.split_rule {
            None => "as the data set splits them".into(),
            Some(rule) => format!(
                "split by a hash of the pictures' names, because nothing says which are for what: {rule}"
            ),
        }
    }

    /// Returns a sentence about the splits and one about the vocabulary.
    pub fn lines(&self) -> [String; 2] {
        let split = |s: &SplitSize| {
            let (images, captions) = (s.images, s.captions);
            format!("{} {images} pictures with {captions} captions", s.split)
        };
        let splits: Vec<String> = self.splits.iter().map(split).collect();
        let Coverage {
            words,
            known,
            occurrences,
            known_occurrences,
        } = self.coverage;
        let share = 100.0 * known_occurrences as f64 / occurrences.max(1) as f64;
        [
            format!("{}: {}; {}", self.dataset, splits.join(", "), self.rule()),
            format!(
                "words: the model has {}; of the {words} different words of the training captions it has {known} ({share:.1}% \
                 of what is said), and {} that occur less than {} times (min_count) are left out",
                self.vocabulary,
                words - known,
                self.min_count
            ),
        ]
    }
}
