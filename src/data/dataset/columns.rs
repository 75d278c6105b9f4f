//! Assigns the columns of a table, by their titles or as the user names them.

use super::given::Columns;
use super::names::is_picture;
use super::split::Split;
use super::titles;

/// The columns of a table, as indices from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TableShape {
    pub(super) image: usize,
    pub(super) captions: Vec<usize>,
    pub(super) split: Option<usize>,
    /// The column that numbers a picture's captions.
    number: Option<usize>,
    /// The titles; placeholders for columns without a title.
    pub(super) titles: Vec<String>,
    /// The choices that were made among several possibilities, in words.
    pub(super) chosen: Vec<String>,
    /// Whether a row may have fewer captions than others.
    pub(super) may_lack: bool,
}

impl TableShape {
    /// Determines the columns by their titles and the first rows; `None` if the titles are not understood.
    pub(super) fn understood(names: &[String], rows: &[Vec<String>]) -> Option<TableShape> {
        let all: Vec<&str> = names.iter().map(String::as_str).collect();
        let texts = titles::texts(all.iter().copied());
        let image = titles::image(&all, rows)?;
        let title = |at: &usize| format!("'{}'", names[*at]);
        let listed = |columns: &[usize]| columns.iter().map(title).collect::<Vec<_>>().join(", ");
        let mut chosen = Vec::new();
        match image.other {
            Some(other) if image.is_untitled => chosen.push(format!(
                "the column {}, not {}, is read as the pictures', as it holds their names",
                title(&image.at),
                title(&other)
            )),
            Some(other) => chosen.push(format!(
                "the column {}, not {}, is read as the pictures'",
                title(&image.at),
                title(&other)
            )),
            None => {}
        }
        if !texts.others.is_empty() {
            chosen.push(format!(
                "the captions are read from {}, and not from {}",
                listed(&texts.read),
                listed(&texts.others)
            ));
        }
        let shape = TableShape {
            image: image.at,
            captions: texts.read,
            split: titles::split(all.iter().copied()),
            number: titles::number(all.iter().copied()),
            titles: names.to_vec(),
            chosen,
            may_lack: false,
        };
        (!shape.captions.is_empty() && !shape.captions.contains(&shape.image)).then_some(shape)
    }

    /// Takes the columns that the user names by title, or by number from 1 up to `widest`. The error is the first
    /// name that is not found.
    pub(super) fn named(
        columns: &Columns,
        titles: &[String],
        widest: usize,
    ) -> Result<TableShape, String> {
        let find = |wanted: &String| {
            let wanted_title = wanted.to_lowercase();
            let same = |title: &String| title.to_lowercase() == wanted_title;
            let number = || {
                let number = wanted.parse::<usize>().ok()?.checked_sub(1);
                number.filter(|at| *at < widest.max(titles.len()))
            };
            let place = titles.iter().position(same).or_else(number);
            place.ok_or_else(|| wanted.clone())
        };
        let captions = columns.captions.iter().map(find);
        let mut shape = TableShape {
            image: find(&columns.image)?,
            captions: captions.collect::<Result<_, _>>()?,
            split: columns.split.as_ref().map(find).transpose()?,
            number: None,
            titles: titles.to_vec(),
            chosen: Vec::new(),
            may_lack: false,
        };
        // Columns without a title that a number names get their number as title.
        let last = shape.captions.iter().chain(&shape.split);
        let last = last.chain([&shape.image]).max().copied().unwrap_or(0);
        for at in titles.len()..=last {
            shape.titles.push(format!("{}", at + 1));
        }
        Ok(shape)
    }

    /// Determines the columns of a table without titles from its first rows: the name of a picture, perhaps a number,
    /// perhaps a split, and captions. With `is_one`, the fields that look like several captions are one caption that
    /// holds separators. With `is_ragged`, rows differ in their number of captions.
    pub(super) fn of_rows(
        rows: &[Vec<String>],
        is_one: bool,
        is_ragged: bool,
    ) -> Option<TableShape> {
        let first = rows.first()?;
        first.first().filter(|field| is_picture(field))?;
        let widths = || rows.iter().map(Vec::len);
        let width = match is_ragged {
            true => widths().max(),
            false => widths().min(),
        };
        let width = width.unwrap_or(0).max(2);
        if first.len() < 2 {
            return None;
        }
        let is_all = |at: usize, kind: &dyn Fn(&str) -> bool| {
            let mut cells = rows.iter().filter_map(|row| row.get(at));
            cells.all(|cell| kind(cell.trim()))
        };
        let is_number = |cell: &str| !cell.is_empty() && cell.chars().all(|c| c.is_ascii_digit());
        let is_split = |cell: &str| Split::named(cell).is_some();
        let mut shape = TableShape {
            image: 0,
            captions: Vec::new(),
            split: None,
            number: None,
            titles: vec!["IMAGE".into()],
            chosen: Vec::new(),
            may_lack: is_ragged,
        };
        for at in 1..width {
            let is_last = at + 1 == width && shape.captions.is_empty();
            let title = if at == 1 && !is_last && is_all(at, &is_number) {
                shape.number = Some(at);
                "NUMBER"
            } else if shape.split.is_none() && !is_last && is_all(at, &is_split) {
                shape.split = Some(at);
                "SPLIT"
            } else {
                shape.captions.push(at);
                "CAPTION"
            };
            shape.titles.push(title.into());
            if is_one && title == "CAPTION" {
                break;
            }
        }
        if shape.captions.len() > 1 || shape.split.is_some() {
            let columns = shape.titles.join(", ").to_lowercase();
            shape.chosen.push(format!(
                "it has no titles, and its columns are read as {columns}"
            ));
        }
        Some(shape)
    }

    /// Whether the last column is the only one with captions. Then a caption may hold the separator.
    pub(super) fn ends_in_caption(&self) -> bool {
        self.captions == [self.titles.len() - 1]
    }

    /// The number of columns.
    pub(super) fn width(&self) -> usize {
        self.titles.len()
    }

    /// Whether the column before the caption numbers captions.
    pub(super) fn counts_before_caption(&self) -> bool {
        self.ends_in_caption() && self.number.is_some_and(|at| at + 2 == self.width())
    }

    /// The titles with the separator between them, for messages.
    pub(super) fn form(&self, delimiter: char) -> String {
        let titles: Vec<String> = self
            .titles
            .iter()
            .map(|title| title.trim().to_uppercase())
            .collect();
        let delimiter = match delimiter {
            '\t' => "<tab>".to_string(),
            other => other.to_string(),
        };
        titles.join(&delimiter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(text: &str) -> Vec<String> {
        text.split('|').map(str::to_string).collect()
    }

    #[test]
    fn titles_are_understood() {
        for (text, image, captions) in [
            ("image|caption", 0, &[1][..]),
            ("image_name| comment_number| comment", 0, &[2]),
            ("|File Name|x|Alt-Text", 1, &[3]),
            ("Beschreibung|Bild", 1, &[0]),
            ("file|caption_1|caption2|caption 3", 0, &[1, 2, 3]),
        ] {
            let shape = TableShape::understood(&titles(text), &[]).unwrap();
            assert_eq!(
                (shape.image, shape.captions.as_slice()),
                (image, captions),
                "{text}"
            );
        }
        assert!(TableShape::understood(&titles("id|sentiment"), &[]).is_none());
        assert!(TableShape::understood(&titles("image|label"), &[]).is_none());
        assert!(
            TableShape::understood(&titles("image_name| comment_number| comment"), &[])
                .unwrap()
                .counts_before_caption()
        );
    }

    #[test]
    fn rows_without_titles_show_what_they_hold() {
        let of = |rows: &[&str]| {
            let rows: Vec<Vec<String>> = rows.iter().map(|row| titles(row)).collect();
            TableShape::of_rows(&rows, false, false)
        };
        let shape = of(&["a.jpg|0|a dog"]).unwrap();
        assert_eq!(
            (shape.captions.as_slice(), shape.form('\t')),
            (&[2][..], "IMAGE<tab>NUMBER<tab>CAPTION".into())
        );
        let shape = of(&["a.jpg|val|a dog|a cat", "b.jpg|train|a|b"]).unwrap();
        assert_eq!(
            (shape.captions.as_slice(), shape.split),
            (&[2, 3][..], Some(1))
        );
        assert_eq!(
            shape.chosen,
            ["it has no titles, and its columns are read as image, split, caption, caption"]
        );
        assert!(of(&["a.jpg"]).is_none() && of(&["dog|a.jpg"]).is_none());
    }
}
