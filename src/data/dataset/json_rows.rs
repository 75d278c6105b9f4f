//! Reads pictures and captions from JSON objects, one per line or in a list: `{"file_name": "a.jpg", "text": "a
//! dog"}`. A caption may be a list of captions.

use std::path::Path;

use serde_json::{Map, Value};

use super::given::Columns;
use super::names::tidy;
use super::remarks::{Log, Topic};
use super::split::Split;
use super::table::{Row, lists};
use super::text::{malformed, numbered_lines};
use super::titles;
use crate::data::words;
use crate::error::{Error, Result};

type Object = Map<String, Value>;

/// Reads the rows of a JSON file, or of a file of JSON lines.
///
/// # Errors
/// If the file cannot be understood.
pub(super) fn read(
    file: &Path,
    text: &str,
    columns: Option<&Columns>,
    log: &mut Log,
) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut chosen: Option<String> = None;
    let mut add = |object: Result<Object, String>, number: usize, log: &mut Log| {
        let found = object.and_then(|object| {
            let keys = Keys::of(&object, columns)?;
            if chosen.is_none() {
                chosen = keys.chosen.clone();
            }
            row(&object, &keys)
        });
        match found {
            Ok(row) => rows.push(row),
            Err(what) => log.broken(Topic::BrokenLine, malformed(file, number, what))?,
        }
        Ok::<(), Error>(())
    };
    if text.trim_start().starts_with('[') {
        let list: Vec<Value> = serde_json::from_str(text)
            .map_err(|e| Error::file(file, words::json(&e)).because(e))?;
        for (at, value) in list.into_iter().enumerate() {
            let object = match value {
                Value::Object(object) => Ok(object),
                _ => Err("of the list is no JSON object".to_string()),
            };
            add(object, at + 1, log)?;
        }
    } else {
        for (number, line) in numbered_lines(text) {
            let object = serde_json::from_str(line).map_err(|_| "is no JSON object".to_string());
            add(object, number, log)?;
        }
    }
    if let Some(chosen) = chosen {
        let what = format_args!("{chosen}; --columns says otherwise");
        log.remark(
            Topic::Columns,
            [chosen.as_str()].into_iter(),
            Error::file(file, what),
        );
    }
    Ok(rows)
}

/// The keys of an object that hold the image, the captions and the split.
struct Keys<'a> {
    image: &'a str,
    captions: Vec<&'a str>,
    split: Option<&'a str>,
    /// The choices that were made among several keys, in words.
    chosen: Option<String>,
}

impl<'a> Keys<'a> {
    fn of(object: &'a Object, columns: Option<&'a Columns>) -> Result<Self, String> {
        let all: Vec<&str> = object.keys().map(String::as_str).collect();
        let keys = match columns {
            Some(columns) => Keys::named(object, columns),
            None => Keys::understood(object, &all),
        };
        keys.ok_or_else(|| {
            format!(
                "has no key that is known to hold a picture's file beside one that holds its caption: its keys are {}; say \
                 which are which with --columns, as in --columns image=file,caption=text",
                all.join(", ")
            )
        })
    }

    /// Takes the keys that the user names.
    fn named(object: &Object, columns: &'a Columns) -> Option<Self> {
        object.get(&columns.image).and_then(Value::as_str)?;
        let captions = columns.captions.iter();
        let there = captions.filter(|key| object.contains_key(*key));
        let captions: Vec<&str> = there.map(String::as_str).collect();
        (!captions.is_empty()).then_some(Keys {
            image: &columns.image,
            captions,
            split: columns.split.as_deref(),
            chosen: None,
        })
    }

    fn understood(object: &Object, all: &[&'a str]) -> Option<Self> {
        let text = |key: &&str| object[*key].as_str().unwrap_or_default().to_string();
        let row: Vec<String> = all.iter().map(text).collect();
        let image = titles::image(all, &[row])?;
        object[all[image.at]].as_str()?;
        let texts = titles::texts(all.iter().copied());
        let listed = |places: &[usize]| {
            let keys: Vec<String> = places.iter().map(|at| format!("'{}'", all[*at])).collect();
            keys.join(", ")
        };
        let mut chosen = Vec::new();
        if let Some(other) = image.other {
            chosen.push(format!(
                "the key {}, not {}, is read as the pictures'",
                listed(&[image.at]),
                listed(&[other])
            ));
        }
        if !texts.others.is_empty() {
            chosen.push(format!(
                "the captions are read from {}, and not from {}",
                listed(&texts.read),
                listed(&texts.others)
            ));
        }
        (!texts.read.is_empty()).then(|| Keys {
            image: all[image.at],
            captions: texts.read.iter().map(|at| all[*at]).collect(),
            split: titles::split(all.iter().copied()).map(|at| all[at]),
            chosen: (!chosen.is_empty()).then(|| chosen.join("; ")),
        })
    }
}

fn row(object: &Object, keys: &Keys) -> Result<Row, String> {
    let texts = keys.captions.iter().flat_map(|key| match &object[*key] {
        Value::Array(several) => several.iter().collect(),
        single => vec![single],
    });
    let mut captions = Vec::new();
    for value in texts {
        match value {
            Value::String(text) => captions.extend(lists::captions(text)?),
            Value::Null => {}
            other => return Err(format!("has {other} where a caption belongs")),
        }
    }
    let split =
        match keys.split.and_then(|key| object.get(key)) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if text.trim().is_empty() => None,
            Some(value) => {
                let text = value.as_str().map_or(value.to_string(), str::to_string);
                let split = Split::named(&text);
                Some(split.ok_or_else(|| {
                    format!("has an unknown split '{text}': use train, dev or test")
                })?)
            }
        };
    let image = object[keys.image].as_str().unwrap_or_default();
    Ok(Row {
        image: tidy(image)
            .ok_or_else(|| format!("names a picture outside of the dataset's folder: '{image}'"))?,
        captions,
        split,
    })
}
