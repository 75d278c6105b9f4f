//! METEOR's table of paraphrases: five million pairs of phrases, of which a set of captions needs a few thousand.
//!
//! The file is compressed. A pair takes three lines: a probability, a phrase, and another phrase with the same meaning.
//! The file is read from beginning to end. A pair is kept only if the captions contain all of its words.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::error::{Error, Result};

/// The longest line that is accepted; the longest in METEOR's table has 71 bytes.
const LONGEST_LINE: usize = 4096;
/// The largest number of lines that is accepted; METEOR's table has 16 million.
const MOST_LINES: usize = 300_000_000;
/// The largest number of pairs that is kept.
const MOST_PAIRS: usize = 10_000_000;

/// The paraphrases of each phrase; phrases are lists of word ids.
#[derive(Debug, Default)]
pub(super) struct Paraphrases {
    table: HashMap<Box<[u32]>, Vec<Box<[u32]>>>,
    /// The largest number of words in a phrase that has a paraphrase.
    longest: usize,
}

impl Paraphrases {
    /// Reads the pairs whose words are all in `ids`.
    ///
    /// # Errors
    /// If the file cannot be read or is not such a table.
    pub fn read(path: &Path, ids: &HashMap<String, u32>) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::unread(path, &e))?;
        Paraphrases::parse(path, MultiGzDecoder::new(BufReader::new(file)), ids)
    }

    /// Reads the uncompressed table; `path` is the file name in error messages.
    fn parse(path: &Path, table: impl Read, ids: &HashMap<String, u32>) -> Result<Self> {
        let mut lines = Lines {
            path,
            reader: BufReader::with_capacity(1 << 18, table),
            line: Vec::new(),
            number: 0,
        };
        let mut paraphrases = Paraphrases::default();
        let mut pairs = 0;
        while lines.next()? {
            if !std::str::from_utf8(&lines.line).is_ok_and(|text| text.parse::<f32>().is_ok()) {
                return Err(lines.wrong("has no probability where a pair of phrases begins"));
            }
            let phrase = lines.phrase(ids)?;
            let other = lines.phrase(ids)?;
            let (Some(phrase), Some(other)) = (phrase, other) else {
                continue;
            };
            pairs += 1;
            if pairs > MOST_PAIRS {
                return Err(lines.wrong("is beyond the largest number of pairs"));
            }
            paraphrases.longest = paraphrases.longest.max(phrase.len());
            paraphrases.table.entry(phrase).or_default().push(other);
        }
        Ok(paraphrases)
    }

    /// Calls `each` with position, length and paraphrase for every phrase in `sentence` that has one. The calls are
    /// sorted by position, then by length, then by the order of the table.
    pub fn of(&self, sentence: &[u32], mut each: impl FnMut(usize, usize, &[u32])) {
        for start in 0..sentence.len() {
            for length in 1..=self.longest.min(sentence.len() - start) {
                let phrase = &sentence[start..start + length];
                for other in self.table.get(phrase).into_iter().flatten() {
                    each(start, length, other);
                }
            }
        }
    }
}

/// The lines of a table, read one at a time into one buffer.
struct Lines<'a, R> {
    path: &'a Path,
    reader: BufReader<R>,
    line: Vec<u8>,
    number: usize,
}

impl<R: Read> Lines<'_, R> {
    /// Reads the next line; returns whether there was one.
    fn next(&mut self) -> Result<bool> {
        self.line.clear();
        self.number += 1;
        let limited = self.reader.by_ref().take(LONGEST_LINE as u64 + 1);
        let read = { limited }.read_until(b'\n', &mut self.line);
        match read {
            Err(_) => {
                Err(self.wrong("cannot be read: the file is damaged or not compressed by gzip"))
            }
            Ok(length) if length > LONGEST_LINE => Err(self.wrong("is too long for a phrase")),
            Ok(_) if self.number > MOST_LINES => {
                Err(self.wrong("is beyond the largest number of lines"))
            }
            Ok(length) => {
                while self.line.last().is_some_and(u8::is_ascii_whitespace) {
                    self.line.pop();
                }
                Ok(length > 0)
            }
        }
    }

    /// Reads a phrase; `None` if one of its words is not in `ids`.
    fn phrase(&mut self, ids: &HashMap<String, u32>) -> Result<Option<Box<[u32]>>> {
        if !self.next()? {
            return Err(self.wrong("is missing: the file ends within a pair of phrases"));
        }
        let Ok(text) = std::str::from_utf8(&self.line) else {
            return Err(self.wrong("is not UTF-8 text"));
        };
        let words = text.split_ascii_whitespace();
        let phrase: Option<Box<[u32]>> = words.map(|word| ids.get(word).copied()).collect();
        Ok(phrase.filter(|phrase| !phrase.is_empty()))
    }

    fn wrong(&self, what: &str) -> Error {
        Error::file(self.path, format_args!("line {} {what}", self.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> HashMap<String, u32> {
        let words = "a big large dog in front of before".split(' ');
        words.map(str::to_owned).zip(0..).collect()
    }

    fn parse(text: &str) -> Result<Paraphrases> {
        Paraphrases::parse(Path::new("table"), text.as_bytes(), &ids())
    }

    #[test]
    fn pairs_of_known_words_are_kept() {
        let table = parse("0.5\nbig\nlarge\n0.1\nbig\nhuge\n1e-3\nin front of\nbefore\n").unwrap();
        let ids = ids();
        let sentence = ["a", "big", "dog", "in", "front", "of", "a"].map(|word| ids[word]);
        let mut found = Vec::new();
        table.of(&sentence, |start, length, other| {
            found.push((start, length, other.to_vec()));
        });
        assert_eq!(
            found,
            [(1, 1, vec![ids["large"]]), (3, 3, vec![ids["before"]])]
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let message = |text: &str| parse(text).unwrap_err().to_string();
        assert_eq!(
            message("0.5\nbig\n"),
            "table: line 3 is missing: the file ends within a pair of phrases"
        );
        assert_eq!(
            message("0.5\nbig\nlarge\nbig\n"),
            "table: line 4 has no probability where a pair of phrases begins"
        );
        assert_eq!(
            message(&format!("0.5\n{}\n", "a ".repeat(LONGEST_LINE))),
            "table: line 2 is too long for a phrase"
        );
        let damaged = Paraphrases::parse(
            Path::new("table"),
            MultiGzDecoder::new(&b"no gzip at all"[..]),
            &ids(),
        );
        assert_eq!(
            damaged.unwrap_err().to_string(),
            "table: line 1 cannot be read: the file is damaged or not compressed by gzip"
        );
    }
}
