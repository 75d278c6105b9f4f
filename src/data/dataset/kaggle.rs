//! Flickr8k as Kaggle distributes it: `captions.txt`, comma-separated `image,caption` with quoted fields.

use std::path::{Path, PathBuf};

use super::flickr::split_by_lists;
use super::{Captions, Entry, SplitSource, first_file, is_plain, malformed, read_text};
use crate::error::Result;

pub(super) fn find(root: &Path) -> Option<PathBuf> {
    first_file(root, &["captions.txt"])
}

pub(super) fn read(file: &Path) -> Result<(SplitSource, Vec<Entry>)> {
    let text = read_text(file)?;
    let mut captions = Captions::default();
    let mut rest = text.as_str();
    let mut line = 1;
    while !rest.is_empty() {
        let Some((fields, remaining)) = record(rest) else {
            return Err(malformed(
                file,
                line,
                "opens a quotation that is never closed",
            ));
        };
        let here = line;
        line += rest[..rest.len() - remaining.len()].matches('\n').count();
        rest = remaining;
        match fields.split_first() {
            Some((name, [])) if name.trim().is_empty() => {}
            Some((name, _)) if here == 1 && name.eq_ignore_ascii_case("image") => {}
            // A comma in a caption that nobody quoted belongs to the caption.
            Some((name, caption @ [_, ..])) if is_plain(name) => {
                captions.add(name, &caption.join(","))
            }
            _ => {
                return Err(malformed(
                    file,
                    here,
                    format_args!("is not IMAGE,CAPTION: '{}'", fields.join(",")),
                ));
            }
        }
    }
    split_by_lists(file, captions)
}

/// The fields of the first record of `text` and what follows it. A field that begins with a quotation
/// mark runs to the next single one, over commas and line ends; doubled, the mark stands for itself.
///
/// `None` when a quotation does not end.
fn record(text: &str) -> Option<(Vec<String>, &str)> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let mut field = String::new();
        if let Some(mut quoted) = rest.strip_prefix('"') {
            loop {
                let (before, after) = quoted.split_once('"')?;
                field.push_str(before);
                match after.strip_prefix('"') {
                    Some(doubled) => {
                        field.push('"');
                        quoted = doubled;
                    }
                    None => {
                        rest = after;
                        break;
                    }
                }
            }
        }
        let end = rest.find([',', '\n']).unwrap_or(rest.len());
        field.push_str(rest[..end].trim_end_matches('\r'));
        fields.push(field);
        match rest[end..].strip_prefix(',') {
            Some(next) => rest = next,
            None => return Some((fields, rest[end..].strip_prefix('\n').unwrap_or(""))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::record;

    #[test]
    fn quotation_marks_are_taken_off() {
        let (fields, rest) = record("a.jpg,\"Two dogs, \"\"big\"\" ones\"\r\nb.jpg,x").unwrap();
        assert_eq!(fields, ["a.jpg", "Two dogs, \"big\" ones"]);
        assert_eq!(rest, "b.jpg,x");
        assert_eq!(record("a,b \"c\" d").unwrap().0, ["a", "b \"c\" d"]);
        assert_eq!(
            record("a,\"b\nc\"\n").unwrap(),
            (vec!["a".into(), "b\nc".into()], "")
        );
        assert_eq!(record("\n").unwrap(), (vec![String::new()], ""));
        assert!(record("a,\"b\nc").is_none());
    }
}
