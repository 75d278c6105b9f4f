//! Reads captions to be scored, in the file formats that are in use.
//!
//! A file is JSON Lines, one object a line, or a single JSON array of objects:
//!
//! ```text
//! {"image": "a.jpg", "text": "a dog runs"}                          ours; "caption" for "text" is as good
//! {"image": "a.jpg", "captions": [{"text": "a dog runs", …}, …]}    as `glimpse caption --json` prints it; the first counts
//! [{"image_id": 391895, "caption": "a dog runs"}, …]                COCO results
//! ```
//!
//! An image may be given by its name, its path or its number in the dataset; [`named_as`] finds the image that is
//! meant. Other fields and a byte-order mark are ignored. `image_bytes` is ignored too: it is present only if a path is
//! not UTF-8, and names in datasets are UTF-8.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use serde_json::{Map, Value};

use super::{Hypothesis, References};
use crate::error::{Error, Result};

/// Reads a file of captions. Errors give the file and the line.
///
/// # Errors
/// If the file cannot be read or is not in one of these formats.
pub fn read_hypotheses(path: &Path) -> Result<Vec<Hypothesis>> {
    let file = File::open(path).map_err(|e| Error::unread(path, &e))?;
    parse_hypotheses(path, BufReader::new(file))
}

/// Reads captions from any reader; `name` is the file name in error messages.
///
/// # Errors
/// If the input cannot be read or is not in one of these formats.
pub fn parse_hypotheses(name: &Path, mut input: impl Read) -> Result<Vec<Hypothesis>> {
    let mut bytes = Vec::new();
    input
        .read_to_end(&mut bytes)
        .map_err(|e| Error::unread(name, &e))?;
    let text = std::str::from_utf8(&bytes).map_err(|e| {
        let line = 1 + bytes[..e.valid_up_to()]
            .iter()
            .filter(|b| **b == b'\n')
            .count();
        Error::file(name, format_args!("line {line} is not UTF-8 text"))
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let values = match text.trim_start().starts_with('[') {
        true => array(name, text)?,
        false => lines(name, text)?,
    };
    let read = |(place, value): (String, Value)| {
        hypothesis(value).map_err(|what| Error::file(name, format_args!("{place} {what}")))
    };
    values.into_iter().map(read).collect()
}

/// Returns the elements of an array, each with its position for error messages.
fn array(name: &Path, text: &str) -> Result<Vec<(String, Value)>> {
    let values: Vec<Value> = serde_json::from_str(text).map_err(|e| {
        let place = format_args!("line {}, column {}", e.line(), e.column());
        Error::file(name, format_args!("is not a whole JSON array: see {place}"))
    })?;
    let numbered = (1..).zip(values);
    Ok(numbered
        .map(|(number, value): (usize, _)| (format!("entry {number}"), value))
        .collect())
}

/// Returns the objects of the lines that are not empty, each with its position for error messages.
fn lines(name: &Path, text: &str) -> Result<Vec<(String, Value)>> {
    let filled = (1..)
        .zip(text.lines())
        .filter(|(_, line)| !line.trim().is_empty());
    let read = |(number, line): (usize, &str)| match serde_json::from_str(line) {
        Ok(value) => Ok((format!("line {number}"), value)),
        Err(e) => Err(Error::file(
            name,
            format_args!(
                "line {number} is not an object {{\"image\": …, \"text\": …}}: it is not JSON, see column {}",
                e.column()
            ),
        )),
    };
    filled.map(read).collect()
}

/// Returns the caption in an object, or the fault of the object.
fn hypothesis(value: Value) -> Result<Hypothesis, String> {
    let Value::Object(object) = value else {
        return Err("is not an object {\"image\": …, \"text\": …}".into());
    };
    let image = image(&object)?;
    if let Some(error) = object.get("error") {
        let error = error
            .as_str()
            .map_or_else(|| error.to_string(), str::to_owned);
        return Err(format!(
            "says that {image} has no caption: {}",
            one_line(&error)
        ));
    }
    let text = match (
        object.get("text").or(object.get("caption")),
        object.get("captions"),
    ) {
        (Some(text), _) => text,
        (None, Some(Value::Array(captions))) => match captions.first() {
            Some(first) => first
                .get("text")
                .ok_or("has \"captions\" without \"text\"")?,
            None => return Err(format!("has no caption of {image}: \"captions\" is empty")),
        },
        (None, Some(_)) => return Err("has \"captions\" that are not a list".into()),
        (None, None) => return Err("has neither \"text\" nor \"caption\" nor \"captions\"".into()),
    };
    match text {
        Value::String(text) => Ok(Hypothesis {
            image,
            text: text.clone(),
        }),
        Value::Null => Err(format!(
            "has no caption of {image} but null, as --min-confidence leaves it; caption without it"
        )),
        _ => Err(format!("has a caption of {image} that is not text")),
    }
}

/// Returns the name or number that an object gives its image.
fn image(object: &Map<String, Value>) -> Result<String, String> {
    match object.get("image").or(object.get("image_id")) {
        Some(Value::String(name)) => Ok(name.clone()),
        Some(Value::Number(number)) if number.is_u64() => Ok(number.to_string()),
        Some(_) => Err("has an \"image\" that is neither a name nor a number".into()),
        None => Err("has neither \"image\" nor \"image_id\"".into()),
    }
}

/// Makes foreign text fit for a message of one line.
fn one_line(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(clean).take(300).collect()
}

/// Renames the hypotheses' images to the names that the references use.
///
/// An image is looked up by its name. If that fails, a path is looked up by its file name and a number by its name in
/// `numbers`. An image that is not found keeps its name; [`segments`](super::segments) refuses it then.
///
/// # Errors
/// If two hypotheses name one image in different ways.
pub fn named_as(
    hypotheses: Vec<Hypothesis>,
    references: &References,
    numbers: &BTreeMap<u64, String>,
) -> Result<Vec<Hypothesis>> {
    let mut meant: BTreeMap<String, String> = BTreeMap::new();
    let mut named = Vec::with_capacity(hypotheses.len());
    for Hypothesis { image, text } in hypotheses {
        let found = find(&image, references, numbers);
        let name = found.unwrap_or(&image).to_owned();
        match meant.get(&name) {
            Some(other) if *other != image => {
                return Err(Error::value(
                    "score",
                    format_args!("{other} and {image} are both {name}; keep one of the two"),
                ));
            }
            _ => meant.insert(name.clone(), image),
        };
        named.push(Hypothesis { image: name, text });
    }
    Ok(named)
}

fn find<'a>(
    image: &str,
    references: &'a References,
    numbers: &'a BTreeMap<u64, String>,
) -> Option<&'a str> {
    let by_name = |name: &str| {
        references
            .get_key_value(name)
            .map(|(name, _)| name.as_str())
    };
    let file_name = || image.rsplit(['/', '\\']).next();
    let by_number = || numbers.get(&image.parse().ok()?);
    by_name(image)
        .or_else(|| by_name(file_name()?))
        .or_else(|| by_name(by_number()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Hypothesis>> {
        parse_hypotheses(Path::new("h.jsonl"), text.as_bytes())
    }

    fn hypothesis(image: &str, text: &str) -> Hypothesis {
        Hypothesis {
            image: image.into(),
            text: text.into(),
        }
    }

    #[test]
    fn every_form_is_read() {
        let expected = [hypothesis("a", "a dog"), hypothesis("7", "")];
        for text in [
            "{\"image\": \"a\", \"text\": \"a dog\"}\n\n{\"text\": \"\", \"image\": 7, \"more\": 1}\n",
            "{\"image\": \"a\", \"image_bytes\": \"YQ==\", \"caption\": \"a dog\"}\r\n{\"image_id\": 7, \"caption\": \"\"}",
            "{\"image\": \"a\", \"captions\": [{\"text\": \"a dog\", \"log_prob\": -1}, {\"text\": \"x\"}], \"ms\": {}}\n\
             {\"image\": \"7\", \"captions\": [{\"text\": \"\"}]}",
            " [{\"image_id\": \"a\", \"caption\": \"a dog\"},\n {\"image_id\": 7, \"id\": 3, \"caption\": \"\"}]\n",
        ] {
            assert_eq!(read(text).unwrap(), expected, "{text}");
            assert_eq!(
                read(&format!("\u{feff}{text}")).unwrap(),
                expected,
                "{text}"
            );
        }
        assert_eq!(read("").unwrap(), []);
        assert_eq!(read("[]").unwrap(), []);
    }

    #[test]
    fn what_is_wrong_is_said_with_file_and_place() {
        let good = "{\"image\": \"a\", \"text\": \"\"}\n";
        for (line, expected) in [
            (
                "x",
                "is not an object {\"image\": …, \"text\": …}: it is not JSON, see column 1",
            ),
            ("3", "is not an object {\"image\": …, \"text\": …}"),
            (
                "{\"image\": \"b\"}",
                "has neither \"text\" nor \"caption\" nor \"captions\"",
            ),
            (
                "{\"text\": \"b\"}",
                "has neither \"image\" nor \"image_id\"",
            ),
            (
                "{\"image\": -1, \"text\": \"b\"}",
                "has an \"image\" that is neither a name nor a number",
            ),
            (
                "{\"image\": \"b\", \"error\": \"b: is not an image\"}",
                "says that b has no caption: b: is not an image",
            ),
            (
                "{\"image\": \"b\", \"captions\": []}",
                "has no caption of b: \"captions\" is empty",
            ),
            (
                "{\"image\": \"b\", \"captions\": [{}]}",
                "has \"captions\" without \"text\"",
            ),
            (
                "{\"image\": \"b\", \"captions\": 3}",
                "has \"captions\" that are not a list",
            ),
            (
                "{\"image\": \"b\", \"captions\": [{\"text\": null}]}",
                "has no caption of b but null, as --min-confidence leaves it; caption without it",
            ),
            (
                "{\"image\": \"b\", \"text\": 3}",
                "has a caption of b that is not text",
            ),
        ] {
            let message = read(&format!("{good}\n{line}")).unwrap_err().to_string();
            assert_eq!(message, format!("h.jsonl: line 3 {expected}"));
        }
        let message = |text: &str| read(text).unwrap_err().to_string();
        assert_eq!(
            message("[{\"image_id\": 1, \"caption\": \"a\"}, {\"image_id\": 2}]"),
            "h.jsonl: entry 2 has neither \"text\" nor \"caption\" nor \"captions\""
        );
        assert_eq!(
            message("[{\"image_id\": 1,"),
            "h.jsonl: is not a whole JSON array: see line 1, column 16"
        );
        let cut = parse_hypotheses(Path::new("h.jsonl"), &b"\n\xff\xfe\n"[..]);
        assert_eq!(
            cut.unwrap_err().to_string(),
            "h.jsonl: line 2 is not UTF-8 text"
        );
    }

    #[test]
    fn images_are_found_by_name_path_and_number() {
        let references: References = ["a.jpg", "b.jpg", "COCO_7.jpg", "9"]
            .map(|name| (name.to_owned(), vec!["a dog".to_owned()]))
            .into();
        let numbers = BTreeMap::from([(7, "COCO_7.jpg".into()), (9, "a.jpg".into())]);
        let names = |images: &[&str]| {
            let hypotheses = images.iter().map(|image| hypothesis(image, "")).collect();
            named_as(hypotheses, &references, &numbers)
                .map(|all| all.into_iter().map(|h| h.image).collect::<Vec<_>>())
        };
        assert_eq!(
            names(&["a.jpg", "x/y/b.jpg", "7", "9", "other"]).unwrap(),
            ["a.jpg", "b.jpg", "COCO_7.jpg", "9", "other"]
        );
        assert_eq!(names(&["C:\\photos\\b.jpg"]).unwrap(), ["b.jpg"]);
        // A folder whose name is not UTF-8, as `glimpse caption --json` writes it.
        assert_eq!(names(&["caf\u{fffd}/b.jpg"]).unwrap(), ["b.jpg"]);
        assert_eq!(
            names(&["x/b.jpg", "y/b.jpg"]).unwrap_err().to_string(),
            "score: x/b.jpg and y/b.jpg are both b.jpg; keep one of the two"
        );
        // A name that occurs twice is refused later, when hypotheses and references are joined.
        assert_eq!(names(&["a.jpg", "a.jpg"]).unwrap(), ["a.jpg", "a.jpg"]);
    }
}
