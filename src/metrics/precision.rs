//! Precision of a caption's content words: the fraction that people used of the picture.
//!
//! A caption is **mostly right** if at least half of its content words occur in any of the references. Words are
//! compared in lower case, without punctuation. [`function_words`](crate::data::function_words) lists the words that
//! are not content words.

use std::collections::HashSet;

use crate::data::function_words::is_content;
use crate::data::vocabulary::words;

/// Computes the fraction of the caption's content words that occur in `references`, 0 to 1; `None` without content
/// words.
pub fn share_right<S: AsRef<str>>(caption: &str, references: &[S]) -> Option<f64> {
    let used: HashSet<String> = references.iter().flat_map(|r| words(r.as_ref())).collect();
    let words = words(caption);
    let content: Vec<&String> = words.iter().filter(|word| is_content(word)).collect();
    let right = content.iter().filter(|word| used.contains(**word)).count();
    (!content.is_empty()).then(|| right as f64 / content.len() as f64)
}

/// Whether at least half of the caption's content words occur in `references`. A caption without content words is not
/// mostly right.
pub fn is_mostly_right<S: AsRef<str>>(caption: &str, references: &[S]) -> bool {
    share_right(caption, references).is_some_and(|share| share >= 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_content_words_are_enough() {
        let references = ["A brown dog runs on the grass .", "The dog is outside ."];
        assert_eq!(share_right("a dog on the grass", &references), Some(1.0));
        assert_eq!(
            share_right("a brown cat is on the sofa", &references),
            Some(1.0 / 3.0)
        );
        assert!(is_mostly_right("A dog jumps.", &references));
        assert!(!is_mostly_right("a cat jumps over a dog", &references));
        assert_eq!(share_right("it is there", &references), None);
        assert!(!is_mostly_right("it is there", &references));
        assert!(!is_mostly_right("", &references));
    }
}
