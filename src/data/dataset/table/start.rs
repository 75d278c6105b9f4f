//! Determines the separator of a table's fields, its titles, and the meaning of its columns.

use std::path::Path;

use super::super::columns::TableShape;
use super::super::given::Columns;
use super::super::names::is_picture;
use super::records::{ANY, Lines, Pictures};
use super::shortened;
use crate::error::{Error, Result};

/// Separators of fields. Those that are rare in captions come first.
const DELIMITERS: [char; 4] = ['\t', '|', ';', ','];

/// Number of rows that are examined.
const SAMPLE: usize = 50;

/// The format of a table, determined from its beginning.
pub(super) struct Start {
    pub(super) delimiter: char,
    pub(super) shape: TableShape,
    pub(super) has_titles: bool,
}

/// A table's first record and some rows after it, as one separator divides them.
struct Sample {
    delimiter: char,
    /// The fields of the first record, trimmed.
    first: Vec<String>,
    rows: Vec<Vec<String>>,
    /// Which fields were quoted, in the first record and then in the rows.
    quoted: Vec<Vec<bool>>,
}

impl Sample {
    fn of(lines: &Lines, delimiter: char, pictures: &Pictures) -> Self {
        let mut lines = Lines::of(lines.rest, pictures);
        let mut records = Vec::new();
        let mut quoted = Vec::new();
        while !lines.rest.is_empty() && records.len() <= SAMPLE {
            let mut fields = lines.record(delimiter, ANY);
            // The title record may end in blank titles, which are kept.
            while !records.is_empty() && fields.last().is_some_and(|f| f.trim().is_empty()) {
                fields.pop();
            }
            if !fields.is_empty() {
                records.push(fields);
                quoted.push(lines.quoted.clone());
            }
        }
        let mut records = records.into_iter();
        let title = |field: String| field.split_whitespace().collect::<Vec<_>>().join(" ");
        let first = records.next().unwrap_or_default();
        Sample {
            delimiter,
            first: first.into_iter().map(title).collect(),
            rows: records.collect(),
            quoted,
        }
    }

    /// Whether most rows have the columns of this shape.
    fn fits(&self, shape: &TableShape) -> bool {
        let last = shape
            .captions
            .first()
            .map_or(shape.image, |c| shape.image.max(*c));
        let fitting = self.rows.iter().filter(|row| row.len() > last).count();
        fitting * 2 >= self.rows.len()
    }

    fn widest(&self) -> usize {
        self.rows.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// The first record and the rows, for a table without titles.
    fn all(&self) -> Vec<Vec<String>> {
        let mut all = [std::slice::from_ref(&self.first), &self.rows].concat();
        while all[0].len() > 2 && all[0].last().is_some_and(String::is_empty) {
            all[0].pop();
        }
        all
    }

    /// Determines the columns of a table without titles.
    fn untitled(&self) -> Option<TableShape> {
        let all = self.all();
        if self.delimiter == '\t' {
            return TableShape::of_rows(&all, false, true);
        }
        let width = all[0].len();
        let is_even = all.iter().all(|row| row.len() == width);
        let shape = TableShape::of_rows(&all, true, false)?;
        if shape.counts_before_caption() {
            return Some(shape);
        }
        let natural =
            |(row, quoted): (&Vec<String>, &Vec<bool>)| is_natural(row, quoted, shape.titles.len());
        let rows = self.rows.iter().zip(self.quoted.iter().skip(1));
        let is_one = match self.rows.is_empty() {
            true => self.quoted[0].iter().skip(shape.titles.len()).all(|q| !q),
            false => rows.clone().all(natural),
        };
        match is_even && !is_one {
            true => TableShape::of_rows(&all, false, false),
            false => Some(shape),
        }
    }

    /// A message, if most rows have more fields than there are titles and commas in captions are not the reason.
    fn excess(&self, shape: &TableShape) -> Option<String> {
        let width = shape.width();
        // Flickr30k's captions hold the separator of its columns.
        if shape.counts_before_caption() {
            return None;
        }
        let rows = self.rows.iter().zip(self.quoted.iter().skip(1));
        let odd = rows.filter(|(row, quoted)| !is_natural(row, quoted, width));
        let odd: Vec<&Vec<String>> = odd.map(|(row, _)| row).collect();
        let fields = odd.first()?.len();
        if odd.len() * 2 <= self.rows.len() || odd.iter().any(|row| row.len() != fields) {
            return None;
        }
        let is_shifted = |row: &&Vec<String>| {
            let is_name = |at: usize| row.get(at).is_some_and(|field| is_picture(field));
            let is_word = !row[0].trim().contains(' ');
            is_word && !is_name(shape.image) && is_name(shape.image + 1)
        };
        if fields == width + 1 && odd.iter().all(is_shifted) {
            return Some(format!(
                "its rows have {fields} fields and its first line {width} titles, so that the first column has none; give it one \
                 (in R, write.table(..., row.names = FALSE) leaves it out)"
            ));
        }
        if !shape.ends_in_caption() {
            // Each such row gets an error of its own.
            return None;
        }
        let more: String = (2..=fields).map(|at| format!(",caption={at}")).collect();
        Some(format!(
            "its rows have {fields} fields and its first line {width} titles; give each column a title (caption_1, caption_2 and \
             so on where there are several captions), or name them by their numbers, as in --columns \"image=1{more}\""
        ))
    }
}

/// Whether the fields from `width` on continue the field before them, like text after a comma in a sentence: they
/// begin with a space and are not quoted.
fn is_natural(row: &[String], quoted: &[bool], width: usize) -> bool {
    let before = row
        .get(width - 1)
        .is_some_and(|field| field.starts_with(' '));
    let is_rest = |at: usize| row[at].starts_with(' ') && !quoted.get(at).is_some_and(|q| *q);
    row.len() <= width || (!before && (width..row.len()).all(is_rest))
}

/// Determines the format of the table whose text is left in `lines`. `said` is the separator that the table itself
/// declares.
pub(super) fn start(
    file: &Path,
    lines: &Lines,
    said: Option<char>,
    columns: Option<&Columns>,
    pictures: &Pictures,
) -> Result<Start> {
    let line = lines.rest.lines().next().unwrap_or_default();
    let delimiters = match &said {
        Some(delimiter) => std::slice::from_ref(delimiter),
        None => &DELIMITERS,
    };
    let samples: Vec<Sample> = delimiters
        .iter()
        .map(|delimiter| Sample::of(lines, *delimiter, pictures))
        .collect();
    let count = |sample: &&Sample| line.matches(sample.delimiter).count();
    let likely = samples.iter().max_by_key(count);
    let titles = likely.map_or(&[][..], |sample| &sample.first);
    if let Some(columns) = columns {
        return named(file, &samples, titles, columns, pictures);
    }
    if let Some((sample, shape)) = fitting(&samples, &|s| TableShape::understood(&s.first, &s.rows))
    {
        if let Some(what) = sample.excess(&shape) {
            return Err(Error::file(file, what));
        }
        return Ok(Start {
            delimiter: sample.delimiter,
            shape,
            has_titles: true,
        });
    }
    if let Some((sample, shape)) = fitting(&samples, &Sample::untitled) {
        return Ok(Start {
            delimiter: sample.delimiter,
            shape,
            has_titles: false,
        });
    }
    let (image, caption) = match titles {
        [a, .., b] if !a.is_empty() && !b.is_empty() => (shortened(a), shortened(b)),
        _ => ("file".into(), "text".into()),
    };
    let what = format_args!(
        "no column is known to hold pictures beside one that holds captions: {}; say which are which with --columns, as in \
         --columns \"image={image},caption={caption}\"",
        listed(titles)
    );
    Err(Error::file(file, what))
}

/// The first sample whose shape most of its rows fit, else the first sample that has a shape.
fn fitting<'a>(
    samples: &'a [Sample],
    shape: &dyn Fn(&Sample) -> Option<TableShape>,
) -> Option<(&'a Sample, TableShape)> {
    let found: Vec<(&Sample, TableShape)> = samples
        .iter()
        .filter_map(|sample| Some((sample, shape(sample)?)))
        .collect();
    let place = found.iter().position(|(sample, shape)| sample.fits(shape));
    found.into_iter().nth(place.unwrap_or(0))
}

/// Determines the format of a table whose columns the user names. `titles` are its likely titles.
fn named(
    file: &Path,
    samples: &[Sample],
    titles: &[String],
    columns: &Columns,
    pictures: &Pictures,
) -> Result<Start> {
    let shape = |s: &Sample| TableShape::named(columns, &s.first, s.widest()).ok();
    let Some((sample, shape)) = fitting(samples, &shape) else {
        let lacking = TableShape::named(columns, titles, 0)
            .err()
            .unwrap_or_default();
        let what = format_args!(
            "has no column '{lacking}', which --columns names; {}",
            listed(titles)
        );
        return Err(Error::file(file, what));
    };
    // If numbers name the columns, the first record may be a row without titles.
    let mut names = sample.first.iter();
    let is_number = !names.any(|title| title.eq_ignore_ascii_case(&columns.image));
    let is_name = |field: &String| is_picture(field) || (is_number && pictures.has(field));
    let has_titles = !sample.first.get(shape.image).is_some_and(is_name);
    Ok(Start {
        delimiter: sample.delimiter,
        shape,
        has_titles,
    })
}

/// A table's titles, for messages.
fn listed(titles: &[String]) -> String {
    match titles {
        [] => "it is empty".to_string(),
        [only] if only.is_empty() => "it is empty".to_string(),
        [only] => format!("its only column is '{}'", shortened(only)),
        several => {
            let quoted: Vec<String> = several
                .iter()
                .map(|title| format!("'{}'", shortened(title)))
                .collect();
            format!("its columns are {}", quoted.join(", "))
        }
    }
}
