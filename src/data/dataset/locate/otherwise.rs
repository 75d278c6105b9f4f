//! Images whose files are called a little differently from what is listed.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::super::entries::Entry;
use super::super::names::{is_picture, last_part};
use super::super::remarks::{Log, Topic};
use crate::data::folder;
use crate::data::letters::composed;
use crate::error::{Error, name};

/// The pictures of some folders by their plain names, with the ending and without.
struct Pictures {
    whole: HashMap<String, Vec<PathBuf>>,
    stems: HashMap<String, Vec<PathBuf>>,
}

/// A name in small letters, each of them one sign.
fn plain(name: &str) -> String {
    composed(name).to_lowercase()
}

fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

impl Pictures {
    fn of(folders: &[PathBuf]) -> Self {
        let mut found = Pictures {
            whole: HashMap::new(),
            stems: HashMap::new(),
        };
        let mut seen = BTreeSet::new();
        let pictures = folder::expand(folders, false).entries.into_iter();
        for picture in pictures.flatten() {
            if !seen.insert(picture.clone()) {
                continue;
            }
            let name = plain(&picture.file_name().unwrap_or_default().to_string_lossy());
            let of_stem = found.stems.entry(stem(&name).to_string()).or_default();
            of_stem.push(picture.clone());
            found.whole.entry(name).or_default().push(picture);
        }
        found
    }

    /// The only picture that may be called `listed`, in a folder that may be its own.
    fn only(&self, listed: &str, may_be: &dyn Fn(&Path) -> bool) -> Option<&PathBuf> {
        let file_name = plain(last_part(listed));
        let by_stem = || {
            (!is_picture(&file_name))
                .then(|| self.stems.get(&file_name))
                .flatten()
        };
        let all = self.whole.get(&file_name).or_else(by_stem)?;
        let mut fitting = all.iter().filter(|picture| may_be(picture));
        let first = fitting.next()?;
        fitting.next().is_none().then_some(first)
    }
}

/// The plain names of the folders of a path, the last one first.
fn folders_of(path: &Path) -> Vec<String> {
    let folders = path.parent().into_iter().flat_map(Path::iter);
    let mut names: Vec<String> = folders.map(|part| plain(&part.to_string_lossy())).collect();
    names.reverse();
    names
}

/// The folders here of those folders elsewhere of which others were found.
fn folders_here(entries: &[Entry]) -> HashMap<PathBuf, PathBuf> {
    let pair = |entry: &Entry| {
        let there = entry.elsewhere.as_ref()?.parent()?;
        let here = entry.file.as_ref()?.parent()?;
        Some((there.to_path_buf(), here.to_path_buf()))
    };
    entries.iter().filter_map(pair).collect()
}

/// Finds what is listed with other capitals, other spellings of the same letters, or without the ending: in `used`, the
/// folders in which others were found, or in the folder that it is listed with.
pub(super) fn find(
    folders: &[PathBuf],
    used: &[PathBuf],
    entries: &mut [Entry],
    log: &mut Log,
) -> Vec<PathBuf> {
    let pictures = Pictures::of(folders);
    let by_file: HashMap<PathBuf, String> = entries
        .iter()
        .filter_map(|entry| Some((entry.file.clone()?, entry.name.clone())))
        .collect();
    let known = folders_here(entries);
    let mut renamed = Vec::new();
    let mut places = BTreeSet::new();
    for entry in entries.iter_mut().filter(|entry| entry.file.is_none()) {
        let there = entry.elsewhere.as_deref().and_then(Path::parent);
        let listed = folders_of(&entry.path);
        let may_be = |picture: &Path| {
            let folder = picture.parent().unwrap_or(Path::new(""));
            match there.and_then(|there| known.get(there)) {
                Some(here) => folder == here,
                None if listed.is_empty() && (there.is_none() || known.is_empty()) => {
                    used.is_empty() || used.iter().any(|place| place == folder)
                }
                None => {
                    let here = folders_of(picture);
                    !listed.is_empty() && here.starts_with(&listed)
                }
            }
        };
        let Some(file) = pictures.only(&entry.name, &may_be) else {
            continue;
        };
        // What another entry has is this one's too only where the two differ in how the letters are written.
        let listed_as = last_part(&entry.name);
        let is_another = |other: &String| composed(last_part(other)) != composed(listed_as);
        if by_file.get(file).is_some_and(is_another) {
            continue;
        }
        renamed.push(format!(
            "{} for {}",
            name(&file.file_name().unwrap_or_default()),
            entry.name
        ));
        places.extend(file.parent().map(Path::to_path_buf));
        entry.file = Some(file.clone());
    }
    if let Some(first) = renamed.first() {
        let what = format_args!(
            "{} pictures are called a little differently from what is listed (capitals, ending), the first is {first}",
            renamed.len()
        );
        let root = folders.first().cloned().unwrap_or_default();
        log.remark(Topic::OtherName, renamed.iter(), Error::file(root, what));
    }
    places.into_iter().collect()
}
