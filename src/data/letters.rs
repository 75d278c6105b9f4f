//! Letters that consist of several Unicode characters.
//!
//! Unicode writes `ä` as one character, or as an `a` followed by a combining mark for the two dots. Both look alike,
//! and some systems write file names and texts in the second way. Many scripts have marks that belong to the letter
//! before them and are not letters themselves.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Returns `text` with letters and their marks combined into single characters where these exist (normal form C).
pub fn composed(text: &str) -> String {
    match text.is_ascii() {
        true => text.to_string(),
        false => text.nfc().collect(),
    }
}

/// Whether a character is a mark that belongs to the letter before it.
pub fn is_mark(c: char) -> bool {
    !c.is_ascii() && is_combining_mark(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_composed() {
        assert_eq!(composed("Ba\u{308}r"), "B\u{e4}r");
        assert_eq!(composed("plain"), "plain");
        assert!(is_mark('\u{308}') && is_mark('\u{94d}') && !is_mark('ä'));
    }
}
