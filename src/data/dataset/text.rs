//! Reads text files in the encodings that people use, and JSON.

use std::fmt;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::remarks::{Log, Topic};
use crate::data::words;
use crate::error::{Error, Result};

/// Reads a text file in UTF-8, without its byte-order mark, or in Windows-1252, which is remarked on. Lines end in
/// `\n` or `\r\n`; a file that has only `\r` is converted.
pub(super) fn read_text(path: &Path, log: &mut Log) -> Result<String> {
    let bytes = fs::read(path).map_err(|e| Error::unread(path, &e))?;
    refuse_utf_16(path, &bytes)?;
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(e) => read_windows_1252(path, e.as_bytes(), e.utf8_error().valid_up_to(), log)?,
    };
    let text = match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_string(),
        None => text,
    };
    // Old systems ended lines with a carriage return alone.
    Ok(match text.contains('\r') && !text.contains('\n') {
        true => text.replace('\r', "\n"),
        false => text,
    })
}

/// Refuses UTF-16, recognised by its byte-order mark or by zero bytes, which no UTF-8 text holds.
fn refuse_utf_16(path: &Path, bytes: &[u8]) -> Result<()> {
    let is_marked = bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]);
    let beginning = &bytes[..bytes.len().min(200)];
    let zeros = beginning.iter().filter(|byte| **byte == 0).count();
    if is_marked || (zeros > 0 && zeros * 3 > beginning.len()) {
        let what = "is UTF-16 text; save it as UTF-8 (spreadsheets call it \"CSV UTF-8\", editors offer it where they save)";
        return Err(Error::file(path, what));
    }
    Ok(())
}

/// Decodes text that is not UTF-8 from byte `valid` on.
fn read_windows_1252(path: &Path, bytes: &[u8], valid: usize, log: &mut Log) -> Result<String> {
    let line = 1 + bytes[..valid].iter().filter(|byte| **byte == b'\n').count();
    // If other letters are valid UTF-8, the text is damaged UTF-8, and Windows-1252 would turn it into nonsense.
    let (mut whole, mut broken) = (0, 0);
    for chunk in bytes.utf8_chunks() {
        whole += chunk.valid().chars().filter(|c| !c.is_ascii()).count();
        broken += usize::from(!chunk.invalid().is_empty());
    }
    if is_east_asian(bytes) {
        let what = "is not UTF-8 text, and looks like GBK or another encoding with two bytes a letter; save the file as UTF-8";
        return Err(malformed(path, line, what));
    }
    let text = windows_1252(bytes);
    let is_text = |c: char| !c.is_control() || matches!(c, '\t' | '\n' | '\r');
    if whole >= broken || !text.chars().all(is_text) {
        let what = "is not UTF-8 text; repair it, or save the file as UTF-8";
        return Err(malformed(path, line, what));
    }
    let what = format_args!(
        "is not UTF-8 (line {line} is the first that shows it) and is read as Windows-1252; save it as UTF-8 if letters come \
         out wrong"
    );
    let example = format!("line {line}");
    log.remark(
        Topic::Encoding,
        [example].into_iter(),
        Error::file(path, what),
    );
    Ok(text)
}

/// The letters of Windows-1252 for the bytes 0x80 to 0x9F. The other bytes are the letters of Latin-1, which Unicode begins
/// with; so are the five of these that Windows-1252 leaves undefined.
const FROM_0X80: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}',
    '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

fn windows_1252(bytes: &[u8]) -> String {
    let letter = |&byte: &u8| match byte {
        0x80..=0x9F => FROM_0X80[usize::from(byte - 0x80)],
        byte => char::from(byte),
    };
    bytes.iter().map(letter).collect()
}

/// The bytes of letters in GB 2312 and in the same part of GBK; every pair of them is a letter.
const GBK_LETTERS: RangeInclusive<u8> = 0xA1..=0xFE;

/// Whether non-ASCII bytes come in pairs throughout, as in GB 2312. In Windows-1252 most stand alone.
fn is_east_asian(bytes: &[u8]) -> bool {
    let runs = bytes.split(|byte| byte.is_ascii());
    let mut runs = runs.filter(|run| !run.is_empty()).peekable();
    let mut longest = 0;
    let is_paired = runs.all(|run| {
        longest = longest.max(run.len());
        run.len().is_multiple_of(2) && run.iter().all(|byte| GBK_LETTERS.contains(byte))
    });
    is_paired && longest >= 4
}

/// The non-blank lines of a text, with their line numbers from 1.
pub(super) fn numbered_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..)
        .zip(text.lines())
        .filter(|(_, line)| !line.trim().is_empty())
}

/// Reads a JSON file of the shape `T`.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = fs::read(path).map_err(|e| Error::unread(path, &e))?;
    refuse_utf_16(path, &bytes)?;
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
    serde_json::from_slice(bytes).map_err(|e| match std::str::from_utf8(bytes) {
        Ok(_) => Error::file(path, words::json(&e)).because(e),
        Err(e) => {
            let before = &bytes[..e.valid_up_to()];
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            malformed(
                path,
                line,
                "is not UTF-8 text, which JSON is; save the file as UTF-8",
            )
        }
    })
}

pub(super) fn malformed(path: &Path, line: usize, what: impl fmt::Display) -> Error {
    Error::file(path, format_args!("line {line} {what}"))
}

/// An image's identifier in a JSON file: a number, however it is written (`7`, `7.0`, `"7"`), or a text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Id(String);

impl Id {
    /// The number, if the identifier is one.
    pub(super) fn number(&self) -> Option<u64> {
        self.0.parse().ok()
    }

    pub(super) fn name(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Id, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Id;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a text")
            }

            fn visit_u64<E>(self, value: u64) -> Result<Id, E> {
                Ok(Id(value.to_string()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Id, E> {
                Ok(Id(value.to_string()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Id, E> {
                // `to_string` prints whole floats without a decimal point.
                Ok(Id(value.to_string()))
            }

            fn visit_str<E>(self, value: &str) -> Result<Id, E> {
                let text = value.trim();
                let number = text
                    .parse::<f64>()
                    .ok()
                    .filter(|x| x.is_finite() && x.fract() == 0.0);
                Ok(Id(match (text.parse::<u64>(), number) {
                    (Ok(whole), _) => whole.to_string(),
                    (Err(_), Some(number)) => number.to_string(),
                    _ => text.to_string(),
                }))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_decoded_as_the_encoding_standard_does_it() {
        let all: Vec<u8> = (0..=255).collect();
        let (want, _) = encoding_rs::WINDOWS_1252.decode_without_bom_handling(&all);
        assert_eq!(windows_1252(&all), want);
        let is_gbk = |pair: &[u8]| {
            let decoded =
                encoding_rs::GBK.decode_without_bom_handling_and_without_replacement(pair);
            decoded.is_some()
        };
        for first in 0xA1..=0xFF {
            for second in 0xA1..=0xFF {
                let pair = [first, second];
                let ours = pair.iter().all(|byte| GBK_LETTERS.contains(byte));
                assert_eq!(ours, is_gbk(&pair), "{pair:x?}");
            }
        }
    }

    #[test]
    fn ids_are_the_same_however_they_are_written() {
        let ids: Vec<Id> =
            serde_json::from_str(r#"[391895, 391895.0, "391895", "391895.0", "000391895"]"#)
                .unwrap();
        assert!(ids.iter().all(|id| id.number() == Some(391_895)), "{ids:?}");
        let odd: Vec<Id> = serde_json::from_str(r#"["a7", -1, 0.5]"#).unwrap();
        assert!(odd.iter().all(|id| id.number().is_none()), "{odd:?}");
    }
}
