//! Known titles of the columns of a table and the keys of JSON objects.

use super::names::is_picture;

/// Titles of the column of pictures, in lower case and with `_` between words. The last one may also hold a picture's
/// number.
const IMAGES: [&str; 27] = [
    "image",
    "images",
    "image_name",
    "image_file",
    "image_filename",
    "image_file_name",
    "image_path",
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
    "image_id",
];

/// Titles of a column of captions, the most specific first. Of several columns the first in this order is read.
const CAPTIONS: [&str; 22] = [
    "caption",
    "captions",
    "image_caption",
    "caption_text",
    "bildbeschreibung",
    "image_description",
    "bildunterschrift",
    "description",
    "beschreibung",
    "descripcion",
    "legende",
    "leyenda",
    "sentence",
    "sentences",
    "text",
    "raw",
    "beschriftung",
    "untertitel",
    "alt_text",
    "alt",
    "comment",
    "titel",
];

/// Titles of the column of splits.
const SPLITS: [&str; 4] = ["split", "set", "partition", "subset"];

/// Titles of a column that numbers the captions of a picture.
const NUMBERS: [&str; 5] = [
    "comment_number",
    "caption_number",
    "comment_id",
    "caption_id",
    "number",
];

/// The columns or keys that hold captions.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Texts {
    /// All columns of the best title: `caption`, or `caption_1`, `caption_2` and so on.
    pub(super) read: Vec<usize>,
    /// Columns of other caption titles; they are not read.
    pub(super) others: Vec<usize>,
}

/// Finds the columns or keys of captions.
pub(super) fn texts<'a>(titles: impl Iterator<Item = &'a str>) -> Texts {
    let rank = |title: &str| {
        let title = plain(title);
        // Matches `caption_1`, `caption2`, and `caption.1`, which is pandas' name for a second column of the same
        // title.
        let base = title.trim_end_matches(|c: char| c.is_ascii_digit());
        let base = base.trim_end_matches('_');
        CAPTIONS.iter().position(|known| *known == base)
    };
    let ranks: Vec<Option<usize>> = titles.map(rank).collect();
    let best = ranks.iter().flatten().min().copied();
    let all = |is_read: bool| {
        let fitting = (0..ranks.len()).filter(|at| ranks[*at].is_some());
        fitting
            .filter(|at| (ranks[*at] == best) == is_read)
            .collect()
    };
    Texts {
        read: all(true),
        others: all(false),
    }
}

/// The column or key of pictures.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) at: usize,
    /// Another column that may be meant.
    pub(super) other: Option<usize>,
    /// Whether the column was chosen by its contents, not by its title.
    pub(super) is_untitled: bool,
}

/// Finds the column or key of pictures: one with a known title. Of several, it is the first in which most of these
/// rows hold names of pictures. If none of them does but exactly one other column does, it is that column.
pub(super) fn image(titles: &[&str], rows: &[Vec<String>]) -> Option<Image> {
    let rank = |at: &usize| {
        let title = plain(titles[*at]);
        IMAGES.iter().position(|known| *known == title)
    };
    let mut titled: Vec<usize> = (0..titles.len()).filter(|at| rank(at).is_some()).collect();
    // The title that may hold a number comes last.
    titled.sort_by_key(|at| rank(at) == Some(IMAGES.len() - 1));
    let first = *titled.first()?;
    let names = |at: &usize| {
        let is_name = |row: &&Vec<String>| row.get(*at).is_some_and(|cell| is_picture(cell));
        rows.iter().filter(is_name).count() * 2 > rows.len()
    };
    let mut named = titled.iter().copied().filter(names);
    if let Some(at) = named.next() {
        return Some(Image {
            at,
            other: named.next(),
            is_untitled: false,
        });
    }
    let read = texts(titles.iter().copied()).read;
    let mut others = (0..titles.len()).filter(|at| !read.contains(at) && names(at));
    let at = match (others.next(), others.next()) {
        (Some(only), None) => only,
        _ => first,
    };
    Some(Image {
        at,
        other: (at != first).then_some(first),
        is_untitled: at != first,
    })
}

/// Finds the column or key of splits.
pub(super) fn split<'a>(titles: impl Iterator<Item = &'a str>) -> Option<usize> {
    position(titles, &SPLITS)
}

/// Finds the column that numbers captions.
pub(super) fn number<'a>(titles: impl Iterator<Item = &'a str>) -> Option<usize> {
    position(titles, &NUMBERS)
}

fn position<'a>(mut titles: impl Iterator<Item = &'a str>, known: &[&str]) -> Option<usize> {
    titles.position(|title| known.contains(&plain(title).as_str()))
}

/// Normalises a title: lower case, no accents, and `_` between words.
fn plain(title: &str) -> String {
    let letter = |c: char| match c {
        'á' | 'à' | 'â' | 'ã' => 'a',
        'é' | 'è' | 'ê' | 'ë' => 'e',
        'í' | 'ì' | 'î' | 'ï' => 'i',
        'ó' | 'ò' | 'ô' | 'õ' => 'o',
        'ú' | 'ù' | 'û' => 'u',
        'ñ' => 'n',
        'ç' => 'c',
        other => other,
    };
    let title: String = title.to_lowercase().chars().map(letter).collect();
    let words = title.split(|c: char| c.is_whitespace() || matches!(c, '-' | '_' | '.'));
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.join("_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_title_that_says_best_what_it_is_counts() {
        for (titles, read, others) in [
            (&["alt", "caption"][..], &[1][..], &[0][..]),
            (&["Titel", "Beschreibung"], &[1], &[0]),
            (&["comment", "text"], &[1], &[0]),
            (&["caption", "x", "caption"], &[0, 2], &[]),
            (&["caption", "caption.1", "Caption 2"], &[0, 1, 2], &[]),
            (&["caption_1", "text"], &[0], &[1]),
            (&["Légende"], &[0], &[]),
            (&["label"], &[], &[]),
        ] {
            let found = texts(titles.iter().copied());
            assert_eq!((&found.read[..], &found.others[..]), (read, others));
        }
    }

    #[test]
    fn the_column_with_names_of_pictures_counts() {
        let row = |text: &str| text.split('|').map(str::to_string).collect::<Vec<_>>();
        let found = |titles: &[&str], first: &str| {
            let image = image(titles, &[row(first)]).unwrap();
            (image.at, image.other, image.is_untitled)
        };
        let ids = ["image_id", "file_name", "caption"];
        assert_eq!(found(&ids, "1|0.jpg|a"), (1, None, false));
        assert_eq!(found(&ids, "1|0|a"), (1, None, false));
        assert_eq!(found(&ids[..1], "1"), (0, None, false));
        assert_eq!(
            found(&["image", "name", "text"], "1|0.jpg|x.jpg"),
            (1, Some(0), true)
        );
        assert_eq!(
            found(&["file", "path"], "1.jpg|a/1.jpg"),
            (0, Some(1), false)
        );
    }
}
