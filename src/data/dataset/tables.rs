//! Reads users' own datasets: a table of names and captions, one table per split, or an image folder of Hugging Face
//! with `metadata.csv` or `metadata.jsonl`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::entries::{Captions, Entry, merged, written};
use super::first_file;
use super::given::{Columns, Given};
use super::json_rows;
use super::remarks::{Log, Topic};
use super::shorten::Elsewhere;
use super::split::{Split, SplitSource};
use super::table::{self, Row};
use super::text::read_text;
use crate::error::{Error, Result, name};

/// Extensions of tables.
const TABLES: [&str; 2] = ["csv", "tsv"];

/// Hugging Face's names for the caption file of an image folder.
const METADATA: [&str; 2] = ["metadata.jsonl", "metadata.csv"];

/// A table, the folder (relative to the dataset's) to which its names are relative, and the split of its rows if
/// known.
#[derive(Debug)]
pub(super) struct Part {
    file: PathBuf,
    folder: PathBuf,
    split: Option<Split>,
}

/// The table that the user names.
///
/// # Errors
/// If the file cannot be found.
pub(super) fn named(given: &Given, table: &Path) -> Result<Vec<Part>> {
    let file = match (table.is_file(), given.root.join(table)) {
        (false, inside) if inside.is_file() => inside,
        _ => table.to_path_buf(),
    };
    Ok(only(file))
}

/// Finds `metadata.*` in the folder, or in its subfolders that are named like splits (`train`, `validation`, `test`).
pub(super) fn find_metadata(root: &Path) -> Option<Vec<Part>> {
    if let Some(file) = first_file(root, &METADATA) {
        return Some(only(file));
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

/// A single table, relative to the dataset's folder and of no split.
pub(super) fn only(file: PathBuf) -> Vec<Part> {
    vec![Part {
        file,
        folder: PathBuf::new(),
        split: None,
    }]
}

/// The files of these parts.
pub(super) fn files(parts: &[Part]) -> Vec<PathBuf> {
    parts.iter().map(|part| part.file.clone()).collect()
}

/// All files `metadata.*` in the folder and in its subfolders named like splits.
pub(super) fn all_metadata(root: &Path) -> Vec<PathBuf> {
    let folders = split_folders(root).into_iter();
    let folders = folders.map(|(folder, _)| root.join(folder));
    let folders = [root.to_path_buf()].into_iter().chain(folders);
    let files = folders.flat_map(|folder| METADATA.map(|name| folder.join(name)));
    files.filter(|file| file.is_file()).collect()
}

/// The folders in `root` that are named like splits, sorted.
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

/// All tables of the folder, sorted.
///
/// # Errors
/// If the folder cannot be read.
pub(super) fn all(root: &Path) -> Result<Vec<PathBuf>> {
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
    Ok(files)
}

/// Finds the only table of the folder, or one table per split.
///
/// # Errors
/// If there are several tables, and nothing says which is meant.
pub(super) fn find(root: &Path) -> Result<Option<Vec<Part>>> {
    let files = all(root)?;
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
        // A single table holds the whole dataset, whatever its name.
        split: split.filter(|_| !is_single),
    });
    let parts: Vec<Part> = parts.collect();
    Ok((!parts.is_empty()).then_some(parts))
}

/// Reads the images and captions of tables.
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
    refuse_none(&all, &last, log)?;
    let elsewhere = Elsewhere::shorten(&mut all, &folders);
    // If names begin with `train/` and `validation/`, these folders are the splits.
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

/// Refuses a table that has titles but no rows.
pub(super) fn refuse_none(rows: &[Row], file: &Path, log: &Log) -> Result<()> {
    let is_broken = |topic| topic == Topic::BrokenLine;
    if rows.is_empty() && !log.remarks.iter().any(|remark| is_broken(remark.topic)) {
        let what = "has no rows; write one for each caption, with the picture's name";
        return Err(Error::file(file, what));
    }
    Ok(())
}

/// Whether folders of these names make the splits. They do if every name begins with a split, or if some begin with
/// train and some with dev or test. In the second case the other images are left out.
pub(super) fn are_splits(folders: &[Option<Split>]) -> bool {
    let has = |split| folders.contains(&Some(split));
    let is_parted = has(Split::Train) && (has(Split::Dev) || has(Split::Test));
    is_parted || (!folders.is_empty() && !folders.contains(&None))
}

/// Reads the rows of a table, or of a file of JSON lines.
///
/// # Errors
/// If the file is not understood.
pub(super) fn rows(file: &Path, columns: Option<&Columns>, log: &mut Log) -> Result<Vec<Row>> {
    let text = read_text(file, log)?;
    let is_json = file
        .extension()
        .is_some_and(|e| e == "jsonl" || e == "json" || e == "ndjson");
    match is_json {
        true => json_rows::read(file, &text, columns, log),
        false => table::read(file, &text, columns, log),
    }
}

/// Groups the captions of rows by image. The caller assigns the splits.
pub(super) fn captions(rows: Vec<Row>) -> Captions {
    let mut captions = Captions::default();
    for row in rows {
        // The blank caption registers an image that has no captions.
        captions.add(&row.image, "");
        for caption in &row.captions {
            captions.add(&row.image, caption);
        }
    }
    captions
}

/// Makes entries of rows that give their splits. Rows without a split are left out.
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
