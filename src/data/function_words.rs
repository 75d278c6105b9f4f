//! Function words: the words that hold a sentence together and name nothing in the picture.
//!
//! All others are a caption's **content words**: nouns, verbs, adjectives, numbers. The precision of a caption is
//! measured in content words, because `a`, `in` and `the` fit any picture.

/// Articles, prepositions, pronouns, conjunctions, and the forms of `be` and `have`.
pub const FUNCTION_WORDS: [&str; 73] = [
    "a", "an", "the", "is", "are", "was", "were", "be", "been", "being", "am", "of", "in", "on",
    "at", "to", "with", "and", "or", "but", "by", "for", "from", "up", "down", "out", "off",
    "over", "under", "through", "into", "onto", "across", "along", "around", "behind", "between",
    "beside", "near", "next", "front", "back", "top", "while", "as", "that", "this", "these",
    "those", "his", "her", "hers", "its", "their", "them", "they", "he", "she", "it", "who",
    "which", "there", "here", "some", "any", "each", "other", "another", "one", "has", "have",
    "had", "having",
];

/// Articles, and prepositions with which people hardly ever end a caption. Prepositions that are adverbs too, as in "a
/// dog runs outside", are left out.
pub const OPEN_ENDS: [&str; 30] = [
    "a", "an", "the", "of", "in", "on", "at", "to", "with", "by", "for", "from", "into", "onto",
    "under", "near", "beside", "between", "through", "across", "against", "toward", "towards",
    "beneath", "among", "during", "upon", "without", "within", "amid",
];

/// Other function words that call for a word after them: forms of `be`, conjunctions, possessive and relative pronouns,
/// and prepositions with which people rarely end a caption. Words that can also stand alone are left out: a dog jumps
/// `up`, a man looks `down`.
pub const LEADING_WORDS: [&str; 20] = [
    "is", "are", "was", "were", "be", "and", "or", "but", "over", "along", "around", "behind",
    "while", "as", "that", "his", "its", "their", "who", "which",
];

/// Whether `word`, in lower case, is a content word. The possessive `'s` and a vocabulary's special tokens are not.
pub fn is_content(word: &str) -> bool {
    word.starts_with(char::is_alphanumeric) && !FUNCTION_WORDS.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_words_name_something() {
        let caption = "a black dog is running through the grass";
        let content: Vec<&str> = caption.split(' ').filter(|word| is_content(word)).collect();
        assert_eq!(content, ["black", "dog", "running", "grass"]);
        for word in LEADING_WORDS {
            assert!(!is_content(word), "{word}");
        }
        for word in ["a", "the", "with", "under"] {
            assert!(OPEN_ENDS.contains(&word) && !is_content(word), "{word}");
        }
        for word in LEADING_WORDS {
            assert!(!OPEN_ENDS.contains(&word), "{word} is in both lists");
        }
        for word in ["up", "down", "out", "off"] {
            assert!(!LEADING_WORDS.contains(&word) && !OPEN_ENDS.contains(&word));
        }
    }
}
