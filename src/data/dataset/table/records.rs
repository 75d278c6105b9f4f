//! A table's text, taken apart into records and fields.

use crate::data::dataset::names::is_picture;

/// No caption is longer, in bytes.
const LONGEST_FIELD: usize = 20_000;

/// A text that is taken apart record by record.
pub(super) struct Lines<'a> {
    pub(super) rest: &'a str,
    /// The number of the line that comes next, from 1.
    pub(super) line: usize,
    /// Lines with a quotation mark that nothing closes.
    pub(super) unclosed: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        Lines {
            rest: text,
            line: 1,
            unclosed: Vec::new(),
        }
    }

    pub(super) fn skip_line(&mut self) {
        self.rest = self.rest.split_once('\n').map_or("", |(_, rest)| rest);
        self.line += 1;
    }

    /// The fields of the next record. `image` is the column with the names of pictures.
    pub(super) fn record(&mut self, delimiter: char, image: usize) -> Vec<String> {
        let mut fields = Vec::new();
        let is_end = |c: char| c == delimiter || c == '\n';
        loop {
            let mut rest = self.rest;
            // Some write a space before the mark.
            if matches!(delimiter, ',' | ';') && rest.trim_start_matches(' ').starts_with('"') {
                rest = rest.trim_start_matches(' ');
            }
            let quoted = rest.strip_prefix('"');
            let closed = quoted.and_then(|inside| quotation(inside, delimiter));
            let field = match closed.filter(|(field, _)| !swallows_rows(field, delimiter, image)) {
                Some((field, after)) => {
                    self.line += field.matches('\n').count();
                    self.rest = after;
                    field
                }
                None => {
                    let end = self.rest.find(is_end).unwrap_or(self.rest.len());
                    let field = self.rest[..end].trim_end_matches('\r').to_string();
                    // A mark that closes in its own line is a quotation at the beginning of a caption.
                    let is_unclosed = |inside: &str| {
                        let line = inside.split('\n').next().unwrap_or_default();
                        line.matches('"').count().is_multiple_of(2)
                    };
                    if quoted.is_some_and(is_unclosed) {
                        self.unclosed.push(self.line);
                    }
                    self.rest = &self.rest[end..];
                    field
                }
            };
            fields.push(field);
            if let Some(next) = self.rest.strip_prefix(delimiter) {
                self.rest = next;
                continue;
            }
            self.rest = self
                .rest
                .strip_prefix("\r\n")
                .or(self.rest.strip_prefix('\n'))
                .unwrap_or("");
            self.line += 1;
            return fields;
        }
    }
}

/// A quotation whose opening mark has been read, and what follows it; none where it does not end with a field.
fn quotation(inside: &str, delimiter: char) -> Option<(String, &str)> {
    let mut field = String::new();
    let mut rest = inside;
    while field.len() < LONGEST_FIELD {
        let (before, after) = rest
            .split_once('"')
            .filter(|(before, _)| before.len() < LONGEST_FIELD)?;
        field.push_str(before);
        if let Some(doubled) = after.strip_prefix('"') {
            field.push('"');
            rest = doubled;
            continue;
        }
        let end = after.trim_start_matches([' ', '\r']);
        let ends =
            end.is_empty() || end.starts_with([delimiter, '\n']) || after.starts_with(delimiter);
        return ends.then(|| match after.starts_with(delimiter) {
            true => (field, after),
            false => (field, end),
        });
    }
    None
}

/// Whether a quotation that runs over lines holds lines that look like rows: the name of a picture in its column.
fn swallows_rows(field: &str, delimiter: char, image: usize) -> bool {
    let named = |line: &str| {
        let name = line.split(delimiter).nth(image);
        name.is_some_and(|name| {
            is_picture(name.trim().trim_matches('"')) && line.contains(delimiter)
        })
    };
    field.lines().skip(1).any(named)
}
