//! Reads tables of pictures and captions, with commas, semicolons, tabs or bars between the fields.
//!
//! The separator is determined from the first rows. A field that begins with a quotation mark extends to the next
//! single mark that ends a field, over separators and line ends; a doubled mark stands for itself. Hand-made tables
//! hold quotation marks that are never closed. By that rule such a mark would swallow all rows up to the next mark.
//! So a mark is taken as a character if the text that it would swallow looks like rows, and this is remarked on.

pub(super) mod lists;
mod records;
mod start;
#[cfg(test)]
mod tests;

use std::path::Path;

use self::records::{Lines, Pictures};
use self::start::{Start, start};
use super::columns::TableShape;
use super::given::Columns;
use super::names::{is_picture, tidy};
use super::remarks::{Log, Topic};
use super::split::Split;
use super::text::malformed;
use crate::error::{Error, Result};

/// A row of a table.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// A path inside the dataset's folder.
    pub(super) image: String,
    /// The captions; some may be empty.
    pub(super) captions: Vec<String>,
    pub(super) split: Option<Split>,
}

/// Reads the rows of the table in `text`.
///
/// # Errors
/// If its columns are not understood, or a row is broken.
pub(super) fn read(
    file: &Path,
    text: &str,
    columns: Option<&Columns>,
    log: &mut Log,
) -> Result<Vec<Row>> {
    let pictures = Pictures::near(file);
    let mut lines = Lines::of(text, &pictures);
    // Spreadsheets declare the separator, which may be a tab, in a first line `sep=`.
    let declared = text
        .lines()
        .next()
        .and_then(|line| line.trim_start_matches([' ', '"']).strip_prefix("sep="));
    let declared = declared.and_then(|sep| sep.chars().next());
    if declared.is_some() {
        lines.skip_line();
    }
    let is_blank = |rest: &str| {
        rest.lines()
            .next()
            .is_some_and(|line| line.trim().is_empty())
    };
    while is_blank(lines.rest) {
        lines.skip_line();
    }
    let Start {
        delimiter,
        shape,
        has_titles,
    } = start(file, &lines, declared, columns, &pictures)?;
    if has_titles {
        lines.record(delimiter, records::ANY);
        lines.unclosed.clear();
    }
    if !shape.chosen.is_empty() {
        let what = format_args!("{}; --columns says otherwise", shape.chosen.join("; "));
        log.remark(Topic::Columns, shape.chosen.iter(), Error::file(file, what));
    }
    let mut rows = Vec::new();
    while !lines.rest.is_empty() {
        let line = lines.line;
        let fields = lines.record(delimiter, shape.image);
        if fields.iter().all(|field| field.trim().is_empty()) {
            continue;
        }
        match row(&shape, delimiter, fields, &lines.quoted) {
            Ok(row) => rows.push(row),
            Err(what) => log.broken(Topic::BrokenLine, malformed(file, line, what))?,
        }
    }
    remark_unclosed(file, &lines.unclosed, log);
    Ok(rows)
}

/// Remarks on the lines that have an unclosed quotation mark.
fn remark_unclosed(file: &Path, unclosed: &[usize], log: &mut Log) {
    let Some(first) = unclosed.first() else {
        return;
    };
    let what = format_args!(
        "has {} with a quotation mark that nothing closes, the first is line {first}; the mark is taken as a character, so that \
         it swallows no rows; close it or take it out",
        match unclosed.len() {
            1 => "a line".to_string(),
            n => format!("{n} lines"),
        }
    );
    let examples = unclosed.iter().map(|line| format!("line {line}"));
    log.remark(Topic::Quotation, examples, Error::file(file, what));
}

/// The beginning of a text, for messages.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_string(),
    }
}

/// Repairs a record like one in Flickr30k's table, in which no separator stands between a caption's number and the
/// caption: `4   A dog runs`. The last of `width` columns is the caption, the one before it is the number.
fn restore_bar(fields: &mut Vec<String>, width: usize, delimiter: char) {
    let Some(at) = width.checked_sub(2).filter(|at| *at < fields.len()) else {
        return;
    };
    let Some((number, _)) = fields[at].trim().split_once(' ') else {
        return;
    };
    if number.is_empty() || !number.chars().all(|c| c.is_ascii_digit()) {
        return;
    }
    let number = number.to_string();
    let caption = fields.split_off(at).join(&delimiter.to_string());
    let caption = caption.trim_start().strip_prefix(&number).map(String::from);
    fields.extend([number, caption.unwrap_or_default()]);
}

/// Fits the fields of a record to the columns of its table. Excess fields belong to the caption, or are an error.
fn fitted(
    shape: &TableShape,
    delimiter: char,
    mut fields: Vec<String>,
    quoted: &[bool],
) -> Result<Vec<String>, String> {
    let width = shape.width();
    // Empty fields after the last column are dropped.
    while fields.len() > width && fields.last().is_some_and(|field| field.trim().is_empty()) {
        fields.pop();
    }
    if shape.counts_before_caption() {
        restore_bar(&mut fields, width, delimiter);
    }
    let raw = |fields: &[String]| shortened(&fields.join(&delimiter.to_string()));
    if fields.len() > width {
        let count = fields.len();
        let is_quoted = quoted.iter().skip(width).any(|quoted| *quoted);
        if !shape.ends_in_caption() {
            return Err(format!(
                "has {count} fields where there are {width} columns: '{}'; put a caption that holds '{delimiter}' between \
                 quotation marks",
                raw(&fields)
            ));
        }
        if is_quoted || delimiter == '\t' || is_picture(&fields[width - 1]) {
            return Err(format!(
                "has {count} fields where there are {width} columns: '{}'; give each column a title (caption_1, caption_2 where \
                 there are several captions), or name them by their numbers, as in --columns image=1,caption=2,caption=3",
                raw(&fields)
            ));
        }
        // An unquoted comma in a caption belongs to the caption.
        let rest = fields.split_off(width - 1);
        fields.push(rest.join(&delimiter.to_string()));
    }
    let captions = match shape.may_lack {
        true => &shape.captions[..1],
        false => &shape.captions,
    };
    let mut needed = captions.iter().chain([&shape.image]);
    if needed.any(|at| *at >= fields.len()) {
        return Err(format!(
            "is not {}: '{}'",
            shape.form(delimiter),
            raw(&fields)
        ));
    }
    Ok(fields)
}

/// Converts a record to a row, or says what is wrong with it.
fn row(
    shape: &TableShape,
    delimiter: char,
    fields: Vec<String>,
    quoted: &[bool],
) -> Result<Row, String> {
    let fields = fitted(shape, delimiter, fields, quoted)?;
    let field = |at: usize| fields.get(at).map(|field| field.trim()).unwrap_or_default();
    let split = match shape.split.map(field) {
        None | Some("") => None,
        Some(text) => match Split::named(text) {
            Some(split) => Some(split),
            None => {
                return Err(format!(
                    "has an unknown split '{}': use train, dev or test",
                    shortened(text)
                ));
            }
        },
    };
    let name = field(shape.image);
    if name.is_empty() {
        return Err(format!(
            "has a caption and no picture: '{}'",
            shortened(&fields.join(&delimiter.to_string()))
        ));
    }
    let Some(image) = tidy(name) else {
        return Err(format!(
            "names a picture outside of the dataset's folder: '{}'",
            shortened(name)
        ));
    };
    let mut captions = Vec::new();
    for at in shape.captions.iter().filter(|at| **at < fields.len()) {
        captions.extend(lists::captions(field(*at))?);
    }
    Ok(Row {
        image,
        captions,
        split,
    })
}
