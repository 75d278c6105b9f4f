//! Finds the words of a caption and a reference that may be aligned.

use super::lexicon::Lexicon;

/// Words of the reference that match words of the caption: single words, except in paraphrases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    /// The stage: 0 exact, 1 stem, 2 synonym, 3 paraphrase.
    pub stage: usize,
    /// Index of the first matched word in the reference.
    pub start: usize,
    /// The number of matched words in the reference.
    pub length: usize,
    /// Index of the first matched word in the caption.
    pub other_start: usize,
    /// The number of matched words in the caption.
    pub other_length: usize,
}

/// Finds all matches of two sentences, grouped by their first word in the reference.
///
/// A pair of words can match in several stages, but a pair that matches exactly has no stem or synonym match.
pub(super) fn find(lexicon: &Lexicon, hypothesis: &[u32], reference: &[u32]) -> Vec<Vec<Match>> {
    let mut found = vec![Vec::new(); reference.len()];
    let mut single = |stage, matching: &dyn Fn(u32, u32) -> bool| {
        for (start, &word) in reference.iter().enumerate() {
            for (other_start, &other) in hypothesis.iter().enumerate() {
                if matching(word, other) {
                    found[start].push(Match {
                        stage,
                        start,
                        length: 1,
                        other_start,
                        other_length: 1,
                    });
                }
            }
        }
    };
    single(0, &|a, b| a == b);
    if hypothesis == reference {
        return found;
    }
    single(1, &|a, b| a != b && lexicon.stem(a) == lexicon.stem(b));
    single(2, &|a, b| a != b && lexicon.are_synonyms(a, b));
    paraphrases(lexicon, hypothesis, reference, &mut found);
    found
}

/// Adds paraphrases of the reference's phrases that occur in the caption, then the reverse.
fn paraphrases(lexicon: &Lexicon, hypothesis: &[u32], reference: &[u32], found: &mut [Vec<Match>]) {
    const STAGE: usize = 3;
    lexicon.paraphrases_of(reference, |start, length, phrase| {
        for other_start in occurrences(hypothesis, phrase) {
            found[start].push(Match {
                stage: STAGE,
                start,
                length,
                other_start,
                other_length: phrase.len(),
            });
        }
    });
    lexicon.paraphrases_of(hypothesis, |other_start, other_length, phrase| {
        for start in occurrences(reference, phrase) {
            found[start].push(Match {
                stage: STAGE,
                start,
                length: phrase.len(),
                other_start,
                other_length,
            });
        }
    });
}

/// Returns the positions at which `phrase` begins in `sentence`.
fn occurrences(sentence: &[u32], phrase: &[u32]) -> impl Iterator<Item = usize> {
    let windows = sentence.windows(phrase.len().max(1)).enumerate();
    windows.filter_map(move |(at, window)| (window == phrase).then_some(at))
}
