//! Pictures with a text file of their own beside each: `a.jpg` and `a.txt`, each line of which is a caption.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::entries::{Captions, Entry};
use super::locate;
use super::remarks::{Log, Topic};
use super::split::{Split, SplitSource};
use super::tables::are_splits;
use super::text::{numbered_lines, read_text};
use crate::data::folder;
use crate::error::{Error, Result};

/// What the files of captions are called.
const EXTENSIONS: [&str; 2] = ["txt", "caption"];

/// The folder of such pictures: the dataset's own or one of those in which images lie.
pub(super) fn find(root: &Path) -> Option<PathBuf> {
    locate::folders(root).into_iter().find(|folder| {
        let mut entries = folder::expand(&[folder], false)
            .entries
            .into_iter()
            .flatten();
        // A folder of a million pictures without texts is not looked at whole.
        entries
            .by_ref()
            .take(1000)
            .any(|picture| beside(&picture).is_some())
    })
}

/// The text file of a picture.
fn beside(picture: &Path) -> Option<PathBuf> {
    let whole = |extension: &&str| {
        let mut name = picture.as_os_str().to_os_string();
        name.push(format!(".{extension}"));
        PathBuf::from(name)
    };
    let own = EXTENSIONS
        .iter()
        .map(|extension| picture.with_extension(extension));
    own.chain(EXTENSIONS.iter().map(whole))
        .find(|path| path.is_file())
}

/// The pictures in `root` and its subfolders. Where all lie in folders that are called like splits, these are the splits.
pub(super) fn read(root: &Path, folder: &Path, log: &mut Log) -> Result<(SplitSource, Vec<Entry>)> {
    // In a folder for each split, the folder of one is not the whole.
    let name = folder
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let start = match Split::named(name).is_some() && folder != root {
        true => folder.parent().unwrap_or(root),
        false => folder,
    };
    let mut captions = Captions::default();
    let mut without = Vec::new();
    let mut files: BTreeMap<String, PathBuf> = BTreeMap::new();
    for picture in folder::expand(&[start], true).entries.into_iter().flatten() {
        let relative = picture.strip_prefix(start).unwrap_or(&picture);
        let name = relative.to_string_lossy().replace('\\', "/");
        let Some(text) = beside(&picture) else {
            without.push(name);
            continue;
        };
        captions.add(&name, "");
        for (_, line) in numbered_lines(&read_text(&text, log)?) {
            captions.add(&name, line);
        }
        files.insert(name, picture);
    }
    if let Some(first) = without.first() {
        let what = format_args!(
            "{} of {} pictures have no text file beside them and are left out, the first is {first}",
            without.len(),
            without.len() + files.len()
        );
        log.remark(Topic::NotListed, without.iter(), Error::file(start, what));
    }
    let of_folder = |name: &str| {
        name.split_once('/')
            .and_then(|(folder, _)| Split::named(folder))
    };
    let named: Vec<Option<Split>> = captions.0.keys().map(|name| of_folder(name)).collect();
    let (source, mut entries) = match are_splits(&named) {
        true => (
            SplitSource::Published,
            by_folders(captions, &named, start, log),
        ),
        false => (SplitSource::Tenths, captions.split_by(SplitSource::Tenths)),
    };
    for entry in &mut entries {
        entry.file = files.remove(&entry.name);
    }
    Ok((source, entries))
}

/// Entries with the splits that their folders say; those in no such folder are left out.
fn by_folders(
    captions: Captions,
    named: &[Option<Split>],
    start: &Path,
    log: &mut Log,
) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut without = Vec::new();
    for ((name, captions), split) in captions.0.into_iter().zip(named) {
        match split {
            Some(split) => entries.push(Entry::named(name, captions, *split)),
            None => without.push(name),
        }
    }
    if let Some(first) = without.first() {
        let what = format_args!(
            "{} pictures with captions are in no folder of a split, and are left out; the first is {first}",
            without.len()
        );
        log.remark(Topic::NoSplit, without.iter(), Error::file(start, what));
    }
    entries
}
