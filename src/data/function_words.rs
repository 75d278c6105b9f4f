//! Words that make sentences rather than name what is to be seen.
//!
//! A caption's **content words** are all others: nouns, verbs, adjectives, numbers. How much of a caption is right is
//! counted in content words, for `a`, `in` and `the` are right of any picture.

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

/// Words that promise another one, so that no sentence ends with them. Words that may also stand alone are not among them: a
/// dog jumps `up`, a man looks `down`.
pub const LEADING_WORDS: [&str; 40] = [
    "a", "an", "the", "is", "are", "was", "were", "be", "of", "in", "on", "at", "to", "with",
    "and", "or", "but", "by", "for", "from", "over", "under", "through", "into", "onto", "across",
    "along", "around", "behind", "between", "beside", "near", "while", "as", "that", "his", "its",
    "their", "who", "which",
];

/// Whether `word`, in lower case, names something. The possessive `'s` and the marks of a vocabulary do not.
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
        assert!(!LEADING_WORDS.contains(&"up"));
    }
}
