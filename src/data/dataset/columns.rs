//! Which column of a table holds what: understood by its title, or named by the user.

use super::given::Columns;
use super::names::is_picture;

/// Titles of the column of pictures, in small letters and with `_` for what separates words.
const IMAGES: [&str; 27] = [
    "image",
    "images",
    "image_name",
    "image_file",
    "image_filename",
    "image_file_name",
    "image_path",
    "image_id",
    "img",
    "img_name",
    "img_path",
    "file",
    "files",
    "file_name",
    "filename",
    "file_path",
    "filepath",
    "path",
    "picture",
    "picture_name",
    "photo",
    "photo_name",
    "bild",
    "bilddatei",
    "datei",
    "dateiname",
    "foto",
];

/// Titles of a column of captions.
const CAPTIONS: [&str; 22] = [
    "caption",
    "captions",
    "text",
    "comment",
    "description",
    "sentence",
    "sentences",
    "raw",
    "alt",
    "alt_text",
    "image_caption",
    "image_description",
    "caption_text",
    "beschreibung",
    "bildbeschreibung",
    "bildunterschrift",
    "beschriftung",
    "untertitel",
    "legende",
    "descripcion",
    "leyenda",
    "titel",
];

/// Titles of the column of splits.
const SPLITS: [&str; 4] = ["split", "set", "partition", "subset"];

/// Titles of a column that counts the captions of a picture.
const NUMBERS: [&str; 5] = [
    "comment_number",
    "caption_number",
    "comment_id",
    "caption_id",
    "number",
];

/// Where in a table's rows what is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) image: usize,
    pub(super) captions: Vec<usize>,
    pub(super) split: Option<usize>,
    /// The column that counts a picture's captions.
    number: Option<usize>,
    /// The titles, or what stands for them.
    pub(super) titles: Vec<String>,
}

impl Shape {
    /// By the titles of the columns; none where they are not understood.
    pub(super) fn understood(titles: &[String]) -> Option<Shape> {
        let plain: Vec<String> = titles.iter().map(|title| plain(title)).collect();
        let of = |known: &[&str]| {
            plain
                .iter()
                .position(|title| known.contains(&title.as_str()))
        };
        let first = of(&CAPTIONS);
        // `caption_1`, `caption_2` and so on are captions all.
        let is_caption = |at: &usize| {
            let title = plain[*at].trim_end_matches(|c: char| c.is_ascii_digit());
            let is_numbered = title.len() < plain[*at].len();
            Some(*at) == first || (is_numbered && CAPTIONS.contains(&title.trim_end_matches('_')))
        };
        let shape = Shape {
            image: of(&IMAGES)?,
            captions: (0..plain.len()).filter(is_caption).collect(),
            split: of(&SPLITS),
            number: of(&NUMBERS),
            titles: titles.to_vec(),
        };
        (!shape.captions.is_empty()).then_some(shape)
    }

    /// By the titles that the user names, or by numbers from 1; the first that is not there where one is not.
    pub(super) fn named(columns: &Columns, titles: &[String]) -> Result<Shape, String> {
        let find = |wanted: &String| {
            let same = |title: &String| title.trim().to_lowercase() == wanted.to_lowercase();
            let number = || {
                wanted
                    .parse::<usize>()
                    .ok()?
                    .checked_sub(1)
                    .filter(|at| *at < titles.len())
            };
            titles
                .iter()
                .position(same)
                .or_else(number)
                .ok_or_else(|| wanted.clone())
        };
        Ok(Shape {
            image: find(&columns.image)?,
            captions: columns
                .captions
                .iter()
                .map(find)
                .collect::<Result<_, _>>()?,
            split: columns.split.as_ref().map(find).transpose()?,
            number: None,
            titles: titles.to_vec(),
        })
    }

    /// By a first row that has no titles but is one of the others: the name of a picture, perhaps a number, a caption.
    pub(super) fn of_row(fields: &[String]) -> Option<Shape> {
        fields.first().filter(|field| is_picture(field))?;
        let is_number = |field: &String| {
            !field.trim().is_empty() && field.trim().chars().all(|c| c.is_ascii_digit())
        };
        let (number, caption) = match fields {
            [_, number, _, ..] if is_number(number) => (Some(1), 2),
            [_, _, ..] => (None, 1),
            _ => return None,
        };
        let titles: &[&str] = match number {
            Some(_) => &["IMAGE", "NUMBER", "CAPTION"],
            None => &["IMAGE", "CAPTION"],
        };
        Some(Shape {
            image: 0,
            captions: vec![caption],
            split: None,
            number,
            titles: titles.iter().map(|title| title.to_string()).collect(),
        })
    }

    /// Whether the last column is the only one with captions, which then may hold what separates columns elsewhere.
    pub(super) fn ends_in_caption(&self) -> bool {
        self.captions == [self.titles.len() - 1]
    }

    /// The number of columns.
    pub(super) fn width(&self) -> usize {
        self.titles.len()
    }

    /// Whether the column before the caption counts captions.
    pub(super) fn counts_before_caption(&self) -> bool {
        self.ends_in_caption() && self.number.is_some_and(|at| at + 2 == self.width())
    }

    /// The columns as messages show them.
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

/// Whether a title, as a key of JSON, is one of the pictures' column.
pub(super) fn is_image_title(title: &str) -> bool {
    IMAGES.contains(&plain(title).as_str())
}

/// Whether a title, as a key of JSON, is one of the captions' column.
pub(super) fn is_caption_title(title: &str) -> bool {
    CAPTIONS.contains(&plain(title).as_str())
}

/// Whether a title, as a key of JSON, is one of the splits' column.
pub(super) fn is_split_title(title: &str) -> bool {
    SPLITS.contains(&plain(title).as_str())
}

/// A title in small letters with `_` for what separates words.
fn plain(title: &str) -> String {
    let words = title.trim().to_lowercase();
    let words: Vec<&str> = words
        .split([' ', '-', '_'])
        .filter(|word| !word.is_empty())
        .collect();
    words.join("_")
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
            let shape = Shape::understood(&titles(text)).unwrap();
            assert_eq!(
                (shape.image, shape.captions.as_slice()),
                (image, captions),
                "{text}"
            );
        }
        assert!(Shape::understood(&titles("id|sentiment")).is_none());
        assert!(Shape::understood(&titles("image|label")).is_none());
        assert!(
            Shape::understood(&titles("image_name| comment_number| comment"))
                .unwrap()
                .counts_before_caption()
        );
    }

    #[test]
    fn rows_without_titles_show_what_they_hold() {
        let shape = Shape::of_row(&titles("a.jpg|0|a dog")).unwrap();
        assert_eq!(
            (shape.captions.as_slice(), shape.form('\t')),
            (&[2][..], "IMAGE<tab>NUMBER<tab>CAPTION".into())
        );
        assert!(Shape::of_row(&titles("a.jpg")).is_none());
        assert!(Shape::of_row(&titles("dog|a.jpg")).is_none());
    }
}
