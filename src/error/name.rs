//! File names as text: on one line, without characters that a terminal would interpret, and still unambiguous.

use std::ffi::OsStr;
use std::fmt::{self, Write};
use std::path::Path;

use serde::Serializer;

/// `path` as it is written in messages and in textual results.
///
/// A file name may contain any byte but zero. These characters are escaped as `ls --quoting-style=escape` does it, so that
/// a name stays one field of one line and two files never have the same text:
///
/// - control characters: `\n`, `\t` and the others that C has a letter for, `\033` and the like otherwise;
/// - bytes that are not UTF-8: `\377`, each byte as three octal digits;
/// - line separators, and marks that change the direction of the text after them: the octal digits of their bytes;
/// - a backslash: `\\`. On Windows, where it separates folders and names hold none, it stays as it is.
///
/// Unlike in `ls`, a space stays a space, because it does not end a line.
pub fn name<P: AsRef<OsStr> + ?Sized>(path: &P) -> Name<'_> {
    Name(path.as_ref())
}

/// The result of [`name`], which can be displayed.
pub struct Name<'a>(&'a OsStr);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.as_encoded_bytes().utf8_chunks() {
            chunk.valid().chars().try_for_each(|c| letter(f, c))?;
            octal(f, chunk.invalid())?;
        }
        Ok(())
    }
}

/// Writes one character, escaped where needed.
fn letter(f: &mut fmt::Formatter<'_>, c: char) -> fmt::Result {
    match c {
        '\\' if !cfg!(windows) => f.write_str("\\\\"),
        '\x07' => f.write_str("\\a"),
        '\x08' => f.write_str("\\b"),
        '\t' => f.write_str("\\t"),
        '\n' => f.write_str("\\n"),
        '\x0b' => f.write_str("\\v"),
        '\x0c' => f.write_str("\\f"),
        '\r' => f.write_str("\\r"),
        c if is_unsafe(c) => octal(f, c.encode_utf8(&mut [0; 4]).as_bytes()),
        c => f.write_char(c),
    }
}

/// Writes bytes as octal escapes.
fn octal(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "\\{byte:03o}"))
}

/// Serializes a path for JSON and the like. Bytes that are not UTF-8 become a replacement character, because such a path
/// should not make hours of work fail when the result is written.
///
/// # Errors
/// Those of the format.
pub fn serialize_lossy<S: Serializer>(
    path: &(impl AsRef<Path> + ?Sized),
    to: S,
) -> Result<S::Ok, S::Error> {
    to.serialize_str(&path.as_ref().to_string_lossy())
}

/// Whether a terminal interprets `c` or treats it as the end of a line: control characters, line and paragraph separators,
/// and characters that embed, override or isolate a direction of text.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_stay_as_they_are() {
        for plain in [
            "a.jpg",
            "my photos/a b.jpg",
            "日本/é'\"$`.png",
            "-",
            "👨\u{200d}👩.jpg",
            "",
        ] {
            assert_eq!(name(plain).to_string(), plain);
        }
    }

    #[test]
    fn what_breaks_a_line_or_steers_a_terminal_is_escaped() {
        for (odd, text) in [
            ("a\nb", r"a\nb"),
            ("a\tb\r", r"a\tb\r"),
            ("\x1b[2J", r"\033[2J"),
            ("\x7f\x01", r"\177\001"),
            ("\u{9b}2J", r"\302\2332J"),
            ("a\u{2028}b\u{85}", r"a\342\200\250b\302\205"),
            ("a\u{202e}gpj.exe", r"a\342\200\256gpj.exe"),
        ] {
            assert_eq!(name(odd).to_string(), text);
        }
    }

    #[cfg(unix)]
    #[test]
    fn no_two_files_have_the_same_text() {
        use std::os::unix::ffi::OsStrExt;
        for (bytes, text) in [
            (&b"caf\xe9.jpg"[..], r"caf\351.jpg"),
            (br"caf\351.jpg", r"caf\\351.jpg"),
            (b"\xff\xfe", r"\377\376"),
            // The beginning of a letter whose end is missing.
            (b"a\xe2\x82", r"a\342\202"),
            (br"a\nb", r"a\\nb"),
        ] {
            assert_eq!(name(OsStr::from_bytes(bytes)).to_string(), text);
        }
    }
}
