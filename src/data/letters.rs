//! Letters that are written with several signs.
//!
//! Unicode writes `ä` as one sign, or as an `a` and a sign for the dots above it. Both look alike, and some systems write
//! file names and texts the second way. Many scripts have signs that belong to the letter before them and are none
//! themselves.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// A text in which each letter is one sign, where there is one for it (the normal form C).
pub fn composed(text: &str) -> String {
    match text.is_ascii() {
        true => text.to_string(),
        false => text.nfc().collect(),
    }
}

/// Whether a sign belongs to the letter before it.
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
