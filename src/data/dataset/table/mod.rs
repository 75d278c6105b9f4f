//! Tables of pictures and captions: fields with commas, semicolons, tabs or bars between them.
//!
//! What separates the fields is found out from the first line. A field that begins with a quotation mark runs to the
//! next single one that ends the field, over separators and line ends; doubled, the mark stands for itself. People's
//! tables hold quotation marks that nothing closes. Read by that rule such a mark would swallow the rows up to the next
//! mark, so it is taken as a character where what it would swallow looks like rows, and remarked on.

mod records;
#[cfg(test)]
mod tests;

use std::path::Path;

use self::records::Lines;
use super::columns::Shape;
use super::given::Columns;
use super::names::{is_picture, tidy};
use super::remarks::{Log, Topic};
use super::split::Split;
use super::text::malformed;
use crate::error::{Error, Result};

/// What separates fields, those first that are rare in captions.
const DELIMITERS: [char; 4] = ['\t', '|', ';', ','];

/// A row of a table.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// A path inside the dataset's folder.
    pub(super) image: String,
    /// Perhaps empty ones.
    pub(super) captions: Vec<String>,
    pub(super) split: Option<Split>,
}

/// The rows of the table that `text` holds.
///
/// # Errors
/// Where its columns are not understood, or a row is broken.
pub(super) fn read(
    file: &Path,
    text: &str,
    columns: Option<&Columns>,
    log: &mut Log,
) -> Result<Vec<Row>> {
    let mut lines = Lines::of(text);
    // Spreadsheets say in a first line what separates the fields.
    let said = text
        .lines()
        .next()
        .and_then(|line| line.trim().strip_prefix("sep="));
    let said = said.and_then(|sep| sep.chars().next());
    if said.is_some() {
        lines.skip_line();
    }
    while lines
        .rest
        .lines()
        .next()
        .is_some_and(|line| line.trim().is_empty())
    {
        lines.skip_line();
    }
    let first = lines.rest.lines().next().unwrap_or_default();
    let Start {
        delimiter,
        shape,
        has_titles,
    } = match said {
        Some(delimiter) => start(file, first, &[delimiter], columns)?,
        None => start(file, first, &DELIMITERS, columns)?,
    };
    if has_titles {
        lines.skip_line();
    }
    let mut rows = Vec::new();
    while !lines.rest.is_empty() {
        let line = lines.line;
        let fields = lines.record(delimiter, shape.image);
        if fields.iter().all(|field| field.trim().is_empty()) {
            continue;
        }
        match row(&shape, delimiter, fields) {
            Ok(row) => rows.push(row),
            Err(what) => log.broken(Topic::BrokenLine, malformed(file, line, what))?,
        }
    }
    if let Some(first) = lines.unclosed.first() {
        let what = format_args!(
            "has {} with a quotation mark that nothing closes, the first is line {first}; the mark is taken as a \
             character, so that it swallows no rows; close it or take it out",
            match lines.unclosed.len() {
                1 => "a line".to_string(),
                n => format!("{n} lines"),
            }
        );
        let examples = lines.unclosed.iter().map(|line| format!("line {line}"));
        log.remark(Topic::Quotation, examples, Error::file(file, what));
    }
    Ok(rows)
}

/// How a table begins.
struct Start {
    delimiter: char,
    shape: Shape,
    has_titles: bool,
}

fn start(
    file: &Path,
    first: &str,
    delimiters: &[char],
    columns: Option<&Columns>,
) -> Result<Start> {
    let split = |delimiter: char| {
        let mut lines = Lines::of(first);
        let fields = lines.record(delimiter, 0).into_iter();
        fields
            .map(|field| field.trim().to_string())
            .collect::<Vec<String>>()
    };
    let with = |shape: &dyn Fn(&[String]) -> Option<Shape>| {
        let mut found = delimiters
            .iter()
            .map(|delimiter| (*delimiter, shape(&split(*delimiter))));
        found.find_map(|(delimiter, shape)| Some((delimiter, shape?)))
    };
    let likely = delimiters
        .iter()
        .copied()
        .max_by_key(|delimiter| first.matches(*delimiter).count());
    let titles = split(likely.unwrap_or(','));
    let listed = || match titles.as_slice() {
        [only] if only.is_empty() => "it is empty".to_string(),
        [only] => format!("its only column is '{}'", shortened(only)),
        several => {
            let quoted: Vec<String> = several
                .iter()
                .map(|title| format!("'{}'", shortened(title)))
                .collect();
            format!("its columns are {}", quoted.join(", "))
        }
    };
    if let Some(columns) = columns {
        let found = with(&|fields| Shape::named(columns, fields).ok());
        let Some((delimiter, shape)) = found else {
            let lacking = Shape::named(columns, &titles).err().unwrap_or_default();
            let what = format_args!(
                "has no column '{lacking}', which --columns names; {}",
                listed()
            );
            return Err(Error::file(file, what));
        };
        // Where numbers name the columns, the first row may be one like the others.
        let fields = split(delimiter);
        let has_titles = !fields
            .get(shape.image)
            .is_some_and(|field| is_picture(field));
        return Ok(Start {
            delimiter,
            shape,
            has_titles,
        });
    }
    if let Some((delimiter, shape)) = with(&Shape::understood) {
        return Ok(Start {
            delimiter,
            shape,
            has_titles: true,
        });
    }
    if let Some((delimiter, shape)) = with(&Shape::of_row) {
        return Ok(Start {
            delimiter,
            shape,
            has_titles: false,
        });
    }
    let (image, caption) = match titles.as_slice() {
        [a, .., b] if !a.is_empty() && !b.is_empty() => (shortened(a), shortened(b)),
        _ => ("file".into(), "text".into()),
    };
    let what = format_args!(
        "no column is known to hold pictures beside one that holds captions: {}; say which are which with --columns, as in \
         --columns \"image={image},caption={caption}\"",
        listed()
    );
    Err(Error::file(file, what))
}

/// The beginning of a text, for messages.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_string(),
    }
}

/// Mends a record like one in Flickr30k's table, in which no delimiter separates the number of a caption from the caption:
/// `4   A dog runs`. The last of `width` columns is the caption, the one before it the number.
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

/// What a record means, or what is wrong with it.
fn row(shape: &Shape, delimiter: char, mut fields: Vec<String>) -> Result<Row, String> {
    let width = shape.width();
    // Nothing but separators after the last column.
    while fields.len() > width && fields.last().is_some_and(|field| field.trim().is_empty()) {
        fields.pop();
    }
    if shape.counts_before_caption() {
        restore_bar(&mut fields, width, delimiter);
    }
    let raw = |fields: &[String]| shortened(&fields.join(&delimiter.to_string()));
    if fields.len() > width {
        if !shape.ends_in_caption() {
            return Err(format!(
                "has {} fields where there are {width} columns: '{}'; put a caption that holds '{delimiter}' between quotation \
                 marks",
                fields.len(),
                raw(&fields)
            ));
        }
        // A comma in a caption that nobody quoted belongs to the caption.
        let rest = fields.split_off(width - 1);
        fields.push(rest.join(&delimiter.to_string()));
    }
    if fields.len() < width
        && shape
            .captions
            .iter()
            .chain([&shape.image])
            .any(|at| *at >= fields.len())
    {
        return Err(format!(
            "is not {}: '{}'",
            shape.form(delimiter),
            raw(&fields)
        ));
    }
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
        return Err(format!("has a caption and no picture: '{}'", raw(&fields)));
    }
    let Some(image) = tidy(name) else {
        return Err(format!(
            "names a picture outside of the dataset's folder: '{}'",
            shortened(name)
        ));
    };
    Ok(Row {
        image,
        captions: shape
            .captions
            .iter()
            .map(|at| field(*at).to_string())
            .collect(),
        split,
    })
}
