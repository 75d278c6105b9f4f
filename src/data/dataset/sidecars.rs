//! Reads pictures that have a text file beside them: `a.jpg` and `a.txt`. Each line of the text is a caption.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use super::entries::{Captions, Entry};
use super::locate;
use super::remarks::{Log, Remark, Topic};
use super::split::{Split, SplitSource};
use super::tables::are_splits;
use super::text::{numbered_lines, read_text};
use crate::data::folder;
use crate::error::{Error, Result};

/// Extensions of the caption files.
const EXTENSIONS: [&str; 4] = ["txt", "caption", "TXT", "CAPTION"];

/// Finds the folder of such pictures: the dataset's own, or one of those in which images lie.
pub(super) fn find(root: &Path) -> Option<PathBuf> {
    locate::folders(root).into_iter().find(|folder| {
        let mut entries = folder::expand(&[folder], false)
            .entries
            .into_iter()
            .flatten();
        // The search stops after 1000 pictures, so a folder of a million pictures without texts costs little.
        entries
            .by_ref()
            .take(1000)
            .any(|picture| !beside(&picture).is_empty())
    })
}

/// The text files of a picture. Those with its whole name come first, as they can belong to no other picture.
fn beside(picture: &Path) -> Vec<PathBuf> {
    let whole = |extension: &&str| {
        let mut name = picture.as_os_str().to_os_string();
        name.push(format!(".{extension}"));
        PathBuf::from(name)
    };
    let stem = EXTENSIONS
        .iter()
        .map(|extension| picture.with_extension(extension));
    let all = EXTENSIONS.iter().map(whole).chain(stem);
    all.filter(|path| path.is_file()).collect()
}

/// A path relative to a folder, with `/` between its parts.
fn inside(folder: &Path, path: &Path) -> String {
    let inside = path.strip_prefix(folder).unwrap_or(path);
    inside.to_string_lossy().replace('\\', "/")
}

/// Whether two names differ only in capitals and the files' contents are equal.
fn is_same(one: &Path, two: &Path) -> bool {
    let lower = |path: &Path| path.to_string_lossy().to_lowercase();
    lower(one) == lower(two) && std::fs::read(one).ok() == std::fs::read(two).ok()
}

/// Irregularities of the text files.
#[derive(Default)]
struct Oddities {
    /// Errors of texts that cannot be read.
    unread: Vec<Error>,
    /// Remarks on the encoding of texts.
    encodings: Vec<Remark>,
    /// Texts that are read.
    read: HashSet<PathBuf>,
    /// Further texts of a picture, of which another one is read.
    second: Vec<PathBuf>,
    /// Texts that are read for several pictures.
    shared: Vec<String>,
}

impl Oddities {
    /// Reads the text of a picture.
    fn text(&mut self, text: &Path, examine: bool) -> String {
        let mut log = Log {
            examine,
            ..Log::default()
        };
        let read = read_text(text, &mut log);
        self.encodings.append(&mut log.remarks);
        read.unwrap_or_else(|error| {
            self.unread.push(error);
            String::new()
        })
    }

    /// Reports all irregularities, each kind in one remark.
    fn tell(mut self, folder: &Path, log: &mut Log) -> Result<()> {
        let total = self.unread.len();
        if !log.examine && total > 1 {
            let what = format_args!(
                "{total} text files cannot be read, the first: {}",
                self.unread[0]
            );
            return Err(Error::file(folder, what));
        }
        for error in self.unread {
            log.broken(Topic::BrokenLine, error)?;
        }
        match self.encodings.len() {
            0 => {}
            1 => log.remarks.append(&mut self.encodings),
            _ => {
                let texts = self.encodings.iter().map(|remark| remark.text.clone());
                let texts: Vec<String> = texts.collect();
                let what = format_args!(
                    "{} text files are not UTF-8 and are read as Windows-1252; save them as UTF-8 if letters come out wrong; \
                     the first: {}",
                    texts.len(),
                    texts[0]
                );
                log.remark(Topic::Encoding, texts.iter(), Error::file(folder, what));
            }
        }
        let mut unused = self.second;
        unused.retain(|text| !self.read.contains(text));
        let unused: Vec<String> = unused.iter().map(|text| inside(folder, text)).collect();
        for (texts, what) in [
            (
                unused,
                "text files are not read, as their pictures have others, with the whole name before .txt; the first is",
            ),
            (
                self.shared,
                "text files are read for several pictures of one name, the first is",
            ),
        ] {
            if let Some(first) = texts.first() {
                let what = format_args!("{} {what} {first}", texts.len());
                log.remark(Topic::Choice, texts.iter(), Error::file(folder, what));
            }
        }
        Ok(())
    }
}

/// Reads the pictures in `root` and its subfolders. If all lie in folders named like splits, the folders are the
/// splits.
pub(super) fn read(root: &Path, folder: &Path, log: &mut Log) -> Result<(SplitSource, Vec<Entry>)> {
    // If there is a folder per split, the folder that was found is only one of them; the search starts at its parent.
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
    let mut odd = Oddities::default();
    let mut files: BTreeMap<String, PathBuf> = BTreeMap::new();
    for picture in folder::expand(&[start], true).entries.into_iter().flatten() {
        let name = inside(start, &picture);
        let mut texts = beside(&picture).into_iter();
        let Some(text) = texts.next() else {
            without.push(name);
            continue;
        };
        // On file systems that ignore case, the name in capitals is the same file.
        odd.second
            .extend(texts.filter(|other| !is_same(other, &text)));
        if !odd.read.insert(text.clone()) {
            odd.shared.push(inside(start, &text));
        }
        captions.add(&name, "");
        for (_, line) in numbered_lines(&odd.text(&text, log.examine)) {
            captions.add(&name, line);
        }
        files.insert(name, picture);
    }
    odd.tell(start, log)?;
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

/// Makes entries whose splits their folders give. Entries in no split folder are left out.
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
