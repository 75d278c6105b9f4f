//! Pictures of people's own: a table of names and captions, or one for each split, and what Hugging Face calls an image
//! folder, `metadata.csv` or `metadata.jsonl`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::columns::{is_caption_title, is_image_title, is_split_title};
use super::entries::{Captions, Entry, merged, written};
use super::first_file;
use super::given::{Columns, Given};
use super::names::tidy;
use super::remarks::{Log, Topic};
use super::shorten::Elsewhere;
use super::split::{Split, SplitSource};
use super::table::{self, Row};
use super::text::{malformed, numbered_lines, read_text};
use crate::error::{Error, Result, name};

/// What tables are called.
const TABLES: [&str; 2] = ["csv", "tsv"];

/// What Hugging Face calls the captions of a folder of images.
const METADATA: [&str; 2] = ["metadata.jsonl", "metadata.csv"];

/// A table, the folder that its names begin in, below the dataset's, and the split of its rows where it has one.
#[derive(Debug)]
pub(super) struct Part {
    file: PathBuf,
    folder: PathBuf,
    split: Option<Split>,
}

/// The table that the user names.
///
/// # Errors
/// Where it is not there.
pub(super) fn named(given: &Given, table: &Path) -> Result<Vec<Part>> {
    let file = match (table.is_file(), given.root.join(table)) {
        (false, inside) if inside.is_file() => inside,
        _ => table.to_path_buf(),
    };
    Ok(vec![Part {
        file,
        folder: PathBuf::new(),
        split: None,
    }])
}

/// `metadata.*` of the folder, or of its folders `train`, `validation` and `test`.
pub(super) fn find_metadata(root: &Path) -> Option<Vec<Part>> {
    if let Some(file) = first_file(root, &METADATA) {
        return Some(vec![Part {
            file,
            folder: PathBuf::new(),
            split: None,
        }]);
    }
    let parts: Vec<Part> = split_folders(root)
        .into_iter()
        .filter_map(|(folder, split)| {
            let file = first_file(&root.join(&folder), &METADATA)?;
            Some(Part {
                file,
                folder: folder.into(),
                split: Some(split),
            })
        })
        .collect();
    (!parts.is_empty()).then_some(parts)
}

/// The folders in `root` that are called like splits, in order.
pub(super) fn split_folders(root: &Path) -> Vec<(String, Split)> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.path().is_dir());
    let names = folders.filter_map(|entry| entry.file_name().into_string().ok());
    let mut found: Vec<_> = names
        .filter_map(|name| Some((name.clone(), Split::named(&name)?)))
        .collect();
    found.sort();
    found
}

/// The only table of the folder, or one for each split.
///
/// # Errors
/// Where there are several, and nothing says which is meant.
pub(super) fn find(root: &Path) -> Result<Option<Vec<Part>>> {
    let unreadable = |e: std::io::Error| Error::unread(root, &e);
    let mut files = Vec::new();
    for entry in fs::read_dir(root).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let extension = path
            .extension()
            .and_then(|e| e.to_str())
            .map(str::to_lowercase);
        let is_hidden = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if extension.is_some_and(|e| TABLES.contains(&e.as_str())) && !is_hidden && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    let split = |file: &PathBuf| {
        file.file_stem()
            .and_then(|stem| Split::named(stem.to_str()?))
    };
    let splits: Vec<Option<Split>> = files.iter().map(split).collect();
    if files.len() > 1 && splits.iter().any(Option::is_none) {
        let names: Vec<String> = files
            .iter()
            .filter_map(|file| Some(name(&file.file_name()?).to_string()))
            .collect();
        let what = format_args!(
            "holds several tables, {}; say with --table which of them has the captions",
            names.join(", ")
        );
        return Err(Error::file(root, what));
    }
    let is_single = files.len() == 1;
    let parts = files.into_iter().zip(splits).map(|(file, split)| Part {
        file,
        folder: PathBuf::new(),
        // A table alone holds all there is.
        split: split.filter(|_| !is_single),
    });
    let parts: Vec<Part> = parts.collect();
    Ok((!parts.is_empty()).then_some(parts))
}

/// The images and captions of tables.
pub(super) fn read(
    parts: Vec<Part>,
    columns: Option<&Columns>,
    log: &mut Log,
) -> Result<(SplitSource, Vec<Entry>)> {
    let mut all = Vec::new();
    let mut folders = Vec::new();
    let mut last = PathBuf::new();
    for Part {
        file,
        folder,
        split,
    } in parts
    {
        for mut row in rows(&file, columns, log)? {
            row.split = row.split.or(split);
            all.push(row);
            folders.push(folder.clone());
        }
        last = file;
    }
    let elsewhere = Elsewhere::shorten(&mut all, &folders);
    // Where names begin with `train/` and `validation/`, these are the splits.
    let of_folder = |row: &Row| {
        row.image
            .split_once('/')
            .and_then(|(folder, _)| Split::named(folder))
    };
    let named: Vec<Option<Split>> = all.iter().map(of_folder).collect();
    if all.iter().all(|row| row.split.is_none()) && are_splits(&named) {
        for row in &mut all {
            row.split = of_folder(row);
        }
    }
    let (source, mut entries) = match all.iter().any(|row| row.split.is_some()) {
        true => split(all, &last, log)?,
        false => {
            let rule = SplitSource::Tenths;
            (rule, captions(all).split_by(rule))
        }
    };
    elsewhere.note(&mut entries);
    Ok((source, entries))
}

/// Whether folders that are called so make the splits: all names begin with one, or some with that of training and some with
/// another, and then the others are left out.
pub(super) fn are_splits(folders: &[Option<Split>]) -> bool {
    let has = |split| folders.contains(&Some(split));
    let is_parted = has(Split::Train) && (has(Split::Dev) || has(Split::Test));
    is_parted || (!folders.is_empty() && !folders.contains(&None))
}

/// The rows of a table, or of a file of JSON lines.
///
/// # Errors
/// Where it is not understood.
pub(super) fn rows(file: &Path, columns: Option<&Columns>, log: &mut Log) -> Result<Vec<Row>> {
    let text = read_text(file, log)?;
    let is_json = file
        .extension()
        .is_some_and(|e| e == "jsonl" || e == "json" || e == "ndjson");
    match is_json {
        true => json_rows(file, &text, columns, log),
        false => table::read(file, &text, columns, log),
    }
}

/// The captions of rows whose splits are made elsewhere.
pub(super) fn captions(rows: Vec<Row>) -> Captions {
    let mut captions = Captions::default();
    for row in rows {
        for caption in &row.captions {
            captions.add(&row.image, caption);
        }
    }
    captions
}

/// Entries of rows that say their splits themselves; those that do not are left out.
pub(super) fn split(
    rows: Vec<Row>,
    file: &Path,
    log: &mut Log,
) -> Result<(SplitSource, Vec<Entry>)> {
    let mut without = Vec::new();
    let mut entries: BTreeMap<(String, Split), Vec<String>> = BTreeMap::new();
    for row in rows {
        let Some(split) = row.split else {
            without.push(row.image);
            continue;
        };
        let captions = entries.entry((row.image, split)).or_default();
        captions.extend(row.captions.iter().filter_map(|caption| written(caption)));
    }
    if let Some(first) = without.first() {
        let what = format_args!(
            "has {} rows without a split, which are left out; the first is of {first}",
            without.len()
        );
        log.remark(Topic::NoSplit, without.iter(), Error::file(file, what));
    }
    let entries = entries.into_iter();
    let entries = entries.map(|((image, split), captions)| Entry::named(image, captions, split));
    let folder = file.parent().unwrap_or(Path::new(""));
    Ok((
        SplitSource::Published,
        merged(entries.collect(), false, folder, log)?,
    ))
}

/// Objects, one a line: `{"file_name": "a.jpg", "text": "a dog"}`; captions may be a list.
fn json_rows(
    file: &Path,
    text: &str,
    columns: Option<&Columns>,
    log: &mut Log,
) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (number, line) in numbered_lines(text) {
        let what = match serde_json::from_str::<Map<String, Value>>(line) {
            Ok(object) => json_row(&object, columns),
            Err(_) => Err("is no JSON object".into()),
        };
        match what {
            Ok(row) => rows.push(row),
            Err(what) => log.broken(Topic::BrokenLine, malformed(file, number, what))?,
        }
    }
    Ok(rows)
}

fn json_row(object: &Map<String, Value>, columns: Option<&Columns>) -> Result<Row, String> {
    let find = |named: Option<&String>, known: fn(&str) -> bool| match named {
        Some(key) => object.get(key),
        None => object
            .iter()
            .find(|(key, _)| known(key))
            .map(|(_, value)| value),
    };
    let keys = || {
        object
            .keys()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let image = find(columns.map(|c| &c.image), is_image_title).and_then(Value::as_str);
    let captions: Vec<&Value> = match columns {
        Some(columns) => columns
            .captions
            .iter()
            .filter_map(|key| object.get(key))
            .collect(),
        None => find(None, is_caption_title).into_iter().collect(),
    };
    let (Some(image), false) = (image, captions.is_empty()) else {
        return Err(format!(
            "has no key that is known to hold a picture's file beside one that holds its caption: its keys are {}; say \
             which are which with --columns, as in --columns image=file,caption=text",
            keys()
        ));
    };
    let texts = captions.into_iter().flat_map(|value| match value {
        Value::Array(several) => several.iter().collect(),
        single => vec![single],
    });
    let text = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Null => Ok(String::new()),
        other => Err(format!("has {other} where a caption belongs")),
    };
    let split = find(columns.and_then(|c| c.split.as_ref()), is_split_title).filter(|_| {
        // Keys of that name are splits unless the user names others.
        columns.is_none_or(|columns| columns.split.is_some())
    });
    let split = match split.and_then(Value::as_str) {
        None => None,
        Some(text) => Some(
            Split::named(text)
                .ok_or_else(|| format!("has an unknown split '{text}': use train, dev or test"))?,
        ),
    };
    Ok(Row {
        image: tidy(image)
            .ok_or_else(|| format!("names a picture outside of the dataset's folder: '{image}'"))?,
        captions: texts.map(text).collect::<Result<_, _>>()?,
        split,
    })
}
