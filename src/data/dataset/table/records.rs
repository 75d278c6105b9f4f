//! Splits a table's text into records and fields.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::data::dataset::locate;
use crate::data::dataset::names::is_picture;
use crate::data::folder;

/// Any column may hold the names of pictures.
pub(super) const ANY: usize = usize::MAX;

/// Maximum length of a quoted field, in bytes. No caption is longer.
const LONGEST_FIELD: usize = 20_000;

/// A text that is read record by record.
pub(super) struct Lines<'a> {
    pub(super) rest: &'a str,
    /// The number of the next line, from 1.
    pub(super) line: usize,
    /// Lines with a quotation mark that is not closed.
    pub(super) unclosed: Vec<usize>,
    /// Which fields of the last record were quoted.
    pub(super) quoted: Vec<bool>,
    /// The picture's name in the last record.
    name: String,
    pictures: &'a Pictures,
}

/// The names of the pictures near a table, without extensions. They are looked up on first use.
pub(super) struct Pictures {
    folder: PathBuf,
    stems: OnceCell<HashSet<String>>,
}

impl Pictures {
    pub(super) fn near(table: &Path) -> Self {
        Pictures {
            folder: table.parent().unwrap_or(Path::new("")).to_path_buf(),
            stems: OnceCell::new(),
        }
    }

    /// Whether a picture has this name.
    pub(super) fn has(&self, stem: &str) -> bool {
        let stems = self.stems.get_or_init(|| {
            let pictures = folder::expand(&locate::folders(&self.folder), false).entries;
            let stem = |path: PathBuf| Some(path.file_stem()?.to_str()?.to_string());
            pictures.into_iter().flatten().filter_map(stem).collect()
        });
        stems.contains(stem)
    }
}

impl<'a> Lines<'a> {
    pub(super) fn of(text: &'a str, pictures: &'a Pictures) -> Self {
        Lines {
            rest: text,
            line: 1,
            unclosed: Vec::new(),
            quoted: Vec::new(),
            name: String::new(),
            pictures,
        }
    }

    pub(super) fn skip_line(&mut self) {
        self.rest = self.rest.split_once('\n').map_or("", |(_, rest)| rest);
        self.line += 1;
    }

    /// Reads the fields of the next record. `image` is the column with the names of pictures, or [`ANY`].
    pub(super) fn record(&mut self, delimiter: char, image: usize) -> Vec<String> {
        let mut fields: Vec<String> = Vec::new();
        self.quoted.clear();
        let is_end = |c: char| c == delimiter || c == '\n';
        loop {
            let mut rest = self.rest;
            // Some programs write a space before the quotation mark.
            if matches!(delimiter, ',' | ';') && rest.trim_start_matches(' ').starts_with('"') {
                rest = rest.trim_start_matches(' ');
            }
            let quoted = rest.strip_prefix('"');
            let closed = quoted.and_then(|inside| quotation(inside, delimiter));
            let name = fields.get(image).unwrap_or(&self.name);
            let closed =
                closed.filter(|(field, _)| !self.swallows_rows(field, delimiter, image, name));
            self.quoted.push(closed.is_some());
            let field = match closed {
                Some((field, after)) => {
                    self.line += field.matches('\n').count();
                    self.rest = after;
                    field
                }
                None => {
                    let end = self.rest.find(is_end).unwrap_or(self.rest.len());
                    let field = self.rest[..end].trim_end_matches('\r').to_string();
                    // A mark that is closed on the same line is a quotation at the beginning of a caption.
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
            if let Some(name) = fields.get(image) {
                self.name = name.clone();
            }
            return fields;
        }
    }
}

impl Lines<'_> {
    /// Whether a quotation over several lines holds lines that look like rows. Such a line has, in the column of
    /// pictures, the name of a picture, a name of the same form as `name`, or the name of a picture near the table.
    fn swallows_rows(&self, field: &str, delimiter: char, image: usize, name: &str) -> bool {
        let form_of_name = form(name);
        let is_name = |cell: &str| {
            let cell = cell.trim().trim_matches('"');
            is_picture(cell)
                || (image != ANY
                    && ((form_of_name.is_some() && form(cell) == form_of_name)
                        || (!cell.is_empty() && self.pictures.has(cell))))
        };
        let is_row = |line: &str| {
            let mut cells = line.split(delimiter);
            line.contains(delimiter)
                && match image {
                    ANY => cells.any(is_name),
                    at => cells.nth(at).is_some_and(is_name),
                }
        };
        field.lines().skip(1).any(is_row)
    }
}

/// Reads a quotation whose opening mark has been read. Returns it and the text after it; `None` if it does not end
/// with a field.
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

/// The form of a name: `9` for each run of digits and `a` for each run of letters. `None` unless it has digits and no
/// spaces, because a name without digits may be a word of a caption.
fn form(name: &str) -> Option<String> {
    let name = name.trim();
    if name.is_empty()
        || name.contains(char::is_whitespace)
        || !name.contains(|c: char| c.is_ascii_digit())
    {
        return None;
    }
    let mut form = String::new();
    for c in name.chars() {
        let sign = match c {
            c if c.is_ascii_digit() => '9',
            c if c.is_alphabetic() => 'a',
            other => other,
        };
        if !form.ends_with(sign) {
            form.push(sign);
        }
    }
    Some(form)
}
