//! Finds caption files that are not read because others are, and files near a folder in which no captions were found.

use std::fs;
use std::path::{Path, PathBuf};

use super::given::Given;
use super::remarks::{Log, Topic};
use super::{coco, flickr, kaggle, karpathy, locate, tables};
use crate::data::folder;
use crate::error::{Error, name};

/// Extensions of spreadsheets' own formats, which are not text.
const SPREADSHEETS: [&str; 4] = ["xlsx", "xls", "ods", "numbers"];

/// A path relative to the dataset's folder, for messages.
fn short(root: &Path, path: &Path) -> String {
    let inside = path.strip_prefix(root).unwrap_or(path);
    name(&inside).to_string().replace('\\', "/")
}

/// Remarks on caption files that are not read because those in `read` are.
pub(super) fn remark(given: &Given, read: &[PathBuf], log: &mut Log) {
    let root = given.root.as_path();
    // Without a file in `read`, there is nothing to compare. A file that the user names is read without a remark on
    // others.
    let Some(first) = read.first() else { return };
    if given.table.is_some() || given.karpathy.is_some() {
        return;
    }
    let mut found = sources(root);
    found.retain(|file| !read.contains(file));
    found.dedup();
    let names: Vec<String> = found.iter().map(|file| short(root, file)).collect();
    if let Some(other) = names.first() {
        let (are, them) = match names.len() {
            1 => ("is".to_string(), "it"),
            more => (
                format!("and {} more files with captions are", more - 1),
                "them",
            ),
        };
        let what = format_args!(
            "{other} {are} not read, as the captions are read from {}; move {them} away, or name another file with --table",
            short(root, first)
        );
        log.remark(Topic::Choice, names.iter(), Error::file(root, what));
    }
    unlabelled(root, read, log);
}

/// Remarks on split folders that have pictures but no metadata, where other split folders have metadata.
fn unlabelled(root: &Path, read: &[PathBuf], log: &mut Log) {
    let folders: Vec<PathBuf> = tables::split_folders(root)
        .into_iter()
        .map(|(folder, _)| root.join(folder))
        .collect();
    let has_file = |folder: &PathBuf| read.iter().any(|file| file.parent() == Some(folder));
    if !folders.iter().any(has_file) {
        return;
    }
    for folder in folders.iter().filter(|folder| !has_file(folder)) {
        let pictures = folder::expand(&[folder], false).entries.into_iter();
        let names: Vec<String> = pictures.flatten().map(|file| short(root, &file)).collect();
        if !names.is_empty() {
            let what = format_args!(
                "has {} pictures and no metadata.csv or metadata.jsonl, and is left out",
                names.len()
            );
            log.remark(Topic::NotListed, names.iter(), Error::file(folder, what));
        }
    }
}

/// All files in a dataset's folder whose names and places mark them as caption files.
fn sources(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    found.extend(flickr::find_flickr8k(root));
    found.extend(karpathy::all(root));
    found.extend(kaggle::find(root));
    found.extend(flickr::find_flickr30k(root));
    found.extend(coco::files(root));
    found.extend(tables::all_metadata(root));
    found.extend(tables::all(root).unwrap_or_default());
    found
}

/// For a folder in which no captions were found: a nearby file that may hold some, and what to do with it.
pub(super) fn hint(root: &Path) -> Option<String> {
    spreadsheet(root)
        .or_else(|| inside(root))
        .or_else(|| json(root))
}

/// The files of a folder, sorted by name.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
}

fn extension(path: &Path) -> String {
    let extension = path.extension().unwrap_or_default();
    extension.to_string_lossy().to_lowercase()
}

fn spreadsheet(root: &Path) -> Option<String> {
    let is_one = |path: &PathBuf| SPREADSHEETS.contains(&extension(path).as_str());
    let file = files(root).into_iter().find(is_one)?;
    Some(format!(
        "{} is a spreadsheet's own file: save it as CSV (UTF-8) beside the pictures",
        short(root, &file)
    ))
}

/// Looks for captions in a subfolder.
fn inside(root: &Path) -> Option<String> {
    for folder in locate::folders(root) {
        if folder == root {
            continue;
        }
        let found = sources(&folder);
        let Some(first) = found.first() else { continue };
        let is_table = tables::all(&folder).unwrap_or_default().contains(first);
        let file = short(root, first);
        return Some(match is_table {
            true => {
                format!("{file} is a table in a folder of this one: name it, as in --table {file}")
            }
            false => format!(
                "{file} is in a folder of this one: give that, as in --data {}",
                name(&folder)
            ),
        });
    }
    None
}

fn json(root: &Path) -> Option<String> {
    let folders = [root.to_path_buf(), root.join("annotations")];
    let all = folders.iter().flat_map(|folder| files(folder));
    let mut all = all.filter(|path| matches!(extension(path).as_str(), "json" | "jsonl"));
    let file = all.next()?;
    let file = short(root, &file);
    Some(format!(
        "{file} has no name that is known: one object a line or a list of them is read with --table {file}; COCO's files are \
         called annotations/captions_train2017.json and captions_val2017.json, Karpathy's dataset_*.json, or are named with \
         --karpathy"
    ))
}
