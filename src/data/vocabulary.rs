//! The vocabulary: converts captions to token ids and back.
//!
//! [`words`] splits a caption into words. Its rules have the name [`TOKENIZER`], which is stored with every vocabulary,
//! so that a model is never used with other rules than it was trained with:
//!
//! - Everything becomes lower case. A word is a sequence of letters or digits, in any script, with their combining
//!   marks. A letter that is written with several characters counts as the single one that exists for it (`a` and two
//!   dots is `ä`).
//! - An apostrophe between two letters, straight or curly, belongs to the word (`don't`, `o'clock`).
//! - A possessive `'s` is a word of its own (`a dog 's tail`), so that `dog` and `dog's` share a word.
//!   [`Vocabulary::decode`] joins them again.
//! - A hyphen after a single letter or digit belongs to the word (`t-shirt`, `4-wheeler`). Any other hyphen separates
//!   (`snow-covered` is two words, each of them frequent).
//! - Everything else separates and is dropped.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::letters::{composed, is_mark};
use crate::error::{Error, Result};

/// The name of the rules by which [`words`] splits captions.
pub const TOKENIZER: &str = "words-1";

/// Pads a mini-batch's shorter captions; never predicted.
pub const PAD: u32 = 0;
/// Begins a caption.
pub const START: u32 = 1;
/// Ends a caption.
pub const END: u32 = 2;
/// Stands for every word that is not in the vocabulary.
pub const UNKNOWN: u32 = 3;

/// The special tokens at ids 0 to 3. [`words`] never returns one, so no caption contains them.
const SPECIALS: [&str; 4] = ["<pad>", "<s>", "</s>", "<unk>"];

/// The number of special tokens at the front of every vocabulary.
pub const SPECIAL_WORDS: usize = SPECIALS.len();

/// The possessive, the one token that is written without a space before it.
const POSSESSIVE: &str = "'s";

/// The largest number of words in a vocabulary, far above any real one; a file that claims more is damaged.
const MAX_WORDS: usize = 1_000_000;

/// Splits a caption into words by the rules of [this module](self).
///
/// ```
/// use glimpse::data::vocabulary::words;
///
/// assert_eq!(words("A man's T-shirt, half-torn!"), ["a", "man", "'s", "t-shirt", "half", "torn"]);
/// ```
pub fn words(caption: &str) -> Vec<String> {
    let text: Vec<char> = composed(&caption.to_lowercase())
        .replace('\u{2019}', "'")
        .chars()
        .collect();
    let in_word = |at: usize| text.get(at).is_some_and(|c| c.is_alphanumeric());
    let is_possessive =
        |at: usize| text[at] == '\'' && text.get(at + 1) == Some(&'s') && !in_word(at + 2);

    let mut found: Vec<String> = Vec::new();
    let mut word = String::new();
    for (at, &c) in text.iter().enumerate() {
        let joins = !word.is_empty()
            && in_word(at + 1)
            && match c {
                '\'' => !is_possessive(at),
                '-' => word.chars().count() == 1,
                _ => false,
            };
        if c.is_alphanumeric() || joins || (is_mark(c) && !word.is_empty()) {
            word.push(c);
            continue;
        }
        if !word.is_empty() {
            found.push(std::mem::take(&mut word));
        }
        if is_possessive(at) && !found.is_empty() {
            // The `s` that follows completes the word, and the next separator appends it.
            word.push(c);
        }
    }
    if !word.is_empty() {
        found.push(word);
    }
    found
}

/// The words that a model knows, each with its id, which is its position in the list.
///
/// In JSON: `{"tokenizer": "words-1", "min_count": 5, "words": ["<pad>", "<s>", "</s>", "<unk>", "a", …]}`. Reading
/// refuses a list with duplicates, without the special tokens, with more than a million words, or of another tokenizer.
///
/// ```
/// use glimpse::data::Vocabulary;
///
/// let vocabulary = Vocabulary::build(["A dog runs.", "The dog's ball", "a dog"], 2)?;
/// assert_eq!(vocabulary.words()[4..], ["dog", "a"]);
/// let ids = vocabulary.encode("A small dog");
/// assert_eq!(vocabulary.decode(&ids)?, "a <unk> dog");
/// # Ok::<(), glimpse::error::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Listed", try_from = "Listed")]
pub struct Vocabulary {
    min_count: u64,
    words: Vec<String>,
    ids: HashMap<String, u32>,
}

/// A vocabulary as stored in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    tokenizer: String,
    min_count: u64,
    words: Vec<String>,
}

impl From<Vocabulary> for Listed {
    fn from(vocabulary: Vocabulary) -> Listed {
        Listed {
            tokenizer: TOKENIZER.into(),
            min_count: vocabulary.min_count,
            words: vocabulary.words,
        }
    }
}

impl TryFrom<Listed> for Vocabulary {
    type Error = Error;

    fn try_from(listed: Listed) -> Result<Vocabulary> {
        if listed.tokenizer != TOKENIZER {
            let what = format!(
                "tokenizer '{}' is not known here, only '{TOKENIZER}' is",
                listed.tokenizer
            );
            return Err(invalid(what));
        }
        Vocabulary::from_words(listed.words, listed.min_count)
    }
}

/// How much of a set of captions a vocabulary covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// The number of distinct words in the captions.
    pub words: u64,
    /// The number of those that the vocabulary contains.
    pub known: u64,
    /// The number of words in the captions, counting every occurrence.
    pub occurrences: u64,
    /// The number of those that the vocabulary contains.
    pub known_occurrences: u64,
}

/// Counts how often each word occurs.
fn counted<S: AsRef<str>>(captions: impl IntoIterator<Item = S>) -> HashMap<String, u64> {
    let mut counts: HashMap<String, u64> = HashMap::new();
    for caption in captions {
        for word in words(caption.as_ref()) {
            *counts.entry(word).or_default() += 1;
        }
    }
    counts
}

/// Returns the words with a count of at least `min_count`, most frequent first; words of equal frequency are in
/// alphabetical order.
fn frequent(counts: HashMap<String, u64>, min_count: u64) -> Vec<String> {
    let mut kept: Vec<(String, u64)> = counts
        .into_iter()
        .filter(|(_, count)| *count >= min_count)
        .collect();
    kept.sort_by(|(a, a_count), (b, b_count)| b_count.cmp(a_count).then_with(|| a.cmp(b)));
    kept.into_iter().map(|(word, _)| word).collect()
}

fn invalid(what: impl std::fmt::Display) -> Error {
    Error::value("vocabulary", what)
}

impl Vocabulary {
    /// Builds a vocabulary of the words that occur at least `min_count` times in `captions`. After the special tokens
    /// come the words, most frequent first; words of equal frequency are in alphabetical order.
    ///
    /// # Errors
    ///
    /// If no word occurs that often.
    pub fn build<S: AsRef<str>>(
        captions: impl IntoIterator<Item = S>,
        min_count: u64,
    ) -> Result<Vocabulary> {
        let counts = counted(captions);
        let distinct = counts.len();
        let kept = frequent(counts, min_count);
        if kept.is_empty() {
            let what = format!(
                "none of the {distinct} different words occurs {min_count} times; lower the minimum"
            );
            return Err(invalid(what));
        }
        let specials = SPECIALS.map(String::from).into_iter();
        Vocabulary::from_words(specials.chain(kept).collect(), min_count)
    }

    /// Extends this vocabulary by the words that occur at least `min_count` times in `captions` and are not in it.
    /// Existing words keep their ids; new words follow in the order of [`Vocabulary::build`].
    ///
    /// # Errors
    ///
    /// If the result would have more words than a vocabulary may have.
    pub fn extended<S: AsRef<str>>(
        &self,
        captions: impl IntoIterator<Item = S>,
        min_count: u64,
    ) -> Result<Vocabulary> {
        let mut counts = counted(captions);
        counts.retain(|word, _| !self.ids.contains_key(word));
        let known = self.words.iter().cloned();
        let new = frequent(counts, min_count);
        Vocabulary::from_words(known.chain(new).collect(), self.min_count)
    }

    /// Computes how much of `captions` this vocabulary covers.
    pub fn coverage<S: AsRef<str>>(&self, captions: impl IntoIterator<Item = S>) -> Coverage {
        let mut coverage = Coverage::default();
        for (word, count) in counted(captions) {
            coverage.words += 1;
            coverage.occurrences += count;
            if self.ids.contains_key(&word) {
                coverage.known += 1;
                coverage.known_occurrences += count;
            }
        }
        coverage
    }

    /// Creates a vocabulary from the list of words in a model file.
    fn from_words(words: Vec<String>, min_count: u64) -> Result<Vocabulary> {
        if words.len() > MAX_WORDS {
            return Err(invalid(format_args!(
                "{} words, more than the {MAX_WORDS} that are accepted",
                words.len()
            )));
        }
        if !words.iter().take(SPECIALS.len()).eq(SPECIALS.iter()) {
            return Err(invalid(format_args!(
                "the first words must be {}",
                SPECIALS.join(" ")
            )));
        }
        let mut seen = HashSet::with_capacity(words.len());
        for (id, word) in words.iter().enumerate() {
            if word.is_empty() || word.contains(char::is_whitespace) {
                return Err(invalid(format_args!(
                    "word {id} is {word:?}: empty or with spaces"
                )));
            }
            if !seen.insert(word.as_str()) {
                return Err(invalid(format_args!("word {id}, {word:?}, occurs twice")));
            }
        }
        let ids = (0..)
            .zip(&words)
            .map(|(id, word)| (word.clone(), id))
            .collect();
        Ok(Vocabulary {
            min_count,
            words,
            ids,
        })
    }

    /// Returns the number of ids, the four special tokens included.
    #[allow(clippy::len_without_is_empty, reason = "the specials are always there")]
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Returns the words in the order of their ids, the four special tokens first.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// Returns the number of occurrences that a word needed to be included.
    pub fn min_count(&self) -> u64 {
        self.min_count
    }

    /// Returns the word with this id.
    pub fn word(&self, id: u32) -> Option<&str> {
        self.words.get(id as usize).map(String::as_str)
    }

    /// Returns the id of a word; [`UNKNOWN`] if the vocabulary does not contain it.
    pub fn id(&self, word: &str) -> u32 {
        self.ids.get(word).copied().unwrap_or(UNKNOWN)
    }

    /// Returns the ids of a caption's words, without [`START`] and [`END`].
    pub fn encode(&self, caption: &str) -> Vec<u32> {
        words(caption).iter().map(|word| self.id(word)).collect()
    }

    /// Returns the ids of a caption's words between [`START`] and [`END`].
    pub fn encode_sentence(&self, caption: &str) -> Vec<u32> {
        let mut ids = vec![START];
        ids.extend(self.encode(caption));
        ids.push(END);
        ids
    }

    /// Converts `ids` to text: up to the first [`END`], without [`PAD`] and [`START`]. A possessive `'s` is attached to
    /// the word before it.
    ///
    /// # Errors
    ///
    /// If an id is beyond the vocabulary.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        let mut text = String::new();
        for &id in ids
            .iter()
            .take_while(|id| **id != END)
            .filter(|id| ![PAD, START].contains(id))
        {
            let Some(word) = self.word(id) else {
                return Err(invalid(format_args!(
                    "token {id} in a vocabulary of {} words",
                    self.len()
                )));
            };
            if !text.is_empty() && word != POSSESSIVE {
                text.push(' ');
            }
            text.push_str(word);
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_cuts_as_it_says() {
        for (caption, expected) in [
            ("A black dog is running .", "a black dog is running"),
            ("Two men , one in red ; \"Go!\"", "two men one in red go"),
            ("a dog 's tail", "a dog 's tail"),
            ("a dog's tail", "a dog 's tail"),
            ("the dogs' bowls", "the dogs bowls"),
            ("don\u{2019}t, o'clock", "don't o'clock"),
            ("'quoted' 'so' words", "quoted so words"),
            ("T-shirt x-ray 4-wheeler", "t-shirt x-ray 4-wheeler"),
            (
                "snow-covered merry-go-round --",
                "snow covered merry go round",
            ),
            ("number 23 , No.5", "number 23 no 5"),
            ("Ein Fräulein isst ÄPFEL", "ein fräulein isst äpfel"),
            (
                "Ein Fra\u{308}ulein, U\u{308}BER",
                "ein fr\u{e4}ulein \u{fc}ber",
            ),
            ("हिन्दी में", "हिन्दी में"),
            ("Öl: größer, naïve café", "öl größer naïve café"),
            ("the girl's's", "the girl 's 's"),
            ("'s", "s"),
            ("a-", "a"),
            ("", ""),
            ("...", ""),
            ("<s> <pad>", "s pad"),
        ] {
            assert_eq!(words(caption).join(" "), expected, "{caption}");
        }
    }

    #[test]
    fn ids_follow_frequency_then_the_alphabet() {
        let vocabulary = Vocabulary::build(["b a c", "b a", "d", "b"], 1).unwrap();
        assert_eq!(
            vocabulary.words(),
            ["<pad>", "<s>", "</s>", "<unk>", "b", "a", "c", "d"]
        );
        assert_eq!(
            vocabulary.encode_sentence("A zebra, b"),
            [START, 5, UNKNOWN, 4, END]
        );
        assert_eq!(
            Vocabulary::build(["b a c", "b a", "d", "b"], 2)
                .unwrap()
                .len(),
            6
        );
    }

    #[test]
    fn more_words_come_after_those_that_are_known() {
        let vocabulary = Vocabulary::build(["b a c", "b a", "d", "b"], 2).unwrap();
        let captions = ["e f g a", "f e", "g e <unk>", "Ä"];
        let more = vocabulary.extended(captions, 2).unwrap();
        assert_eq!(
            more.words(),
            ["<pad>", "<s>", "</s>", "<unk>", "b", "a", "e", "f", "g"]
        );
        assert_eq!(more.min_count(), 2);
        let none: [&str; 0] = [];
        assert_eq!(vocabulary.extended(none, 1).unwrap(), vocabulary);
        assert_eq!(more.extended(captions, 2).unwrap(), more);
        let coverage = Coverage {
            words: 6,
            known: 4,
            occurrences: 10,
            known_occurrences: 8,
        };
        assert_eq!(more.coverage(captions), coverage);
    }

    #[test]
    fn decoding_reads_as_a_sentence() {
        let vocabulary = Vocabulary::build(["a man 's red t-shirt"], 1).unwrap();
        let mut ids = vocabulary.encode_sentence("A man's red T-shirt");
        ids.extend([PAD, 4, 4]);
        assert_eq!(vocabulary.decode(&ids).unwrap(), "a man's red t-shirt");
        let error = vocabulary.decode(&[99]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "vocabulary: token 99 in a vocabulary of 9 words"
        );
    }

    #[test]
    fn a_vocabulary_survives_its_file() {
        let vocabulary = Vocabulary::build(["one two two"], 1).unwrap();
        let json = serde_json::to_string(&vocabulary).unwrap();
        assert_eq!(
            json,
            r#"{"tokenizer":"words-1","min_count":1,"words":["<pad>","<s>","</s>","<unk>","two","one"]}"#
        );
        assert_eq!(
            serde_json::from_str::<Vocabulary>(&json).unwrap(),
            vocabulary
        );
    }

    #[test]
    fn damaged_files_are_refused_with_the_reason() {
        let read = |tokenizer: &str, words: &str| {
            let json = format!(r#"{{"tokenizer":"{tokenizer}","min_count":1,"words":[{words}]}}"#);
            serde_json::from_str::<Vocabulary>(&json)
                .unwrap_err()
                .to_string()
        };
        let specials = r#""<pad>","<s>","</s>","<unk>""#;
        assert!(read("bpe", specials).contains("tokenizer 'bpe'"));
        assert!(read("words-1", r#""a","b""#).contains("the first words must be"));
        assert!(read("words-1", "").contains("the first words must be"));
        assert!(read("words-1", &format!(r#"{specials},"a","a""#)).contains("occurs twice"));
        assert!(read("words-1", &format!(r#"{specials},"a b""#)).contains("with spaces"));
        assert!(read("words-1", &format!(r#"{specials},"""#)).contains("empty"));
        assert!(
            Vocabulary::build(["a b"], 2)
                .unwrap_err()
                .to_string()
                .contains("lower the minimum")
        );
    }
}
