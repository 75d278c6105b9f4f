//! Finds images whose file names differ a little from the listed names.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::super::entries::Entry;
use super::super::names::{is_picture, last_part};
use super::super::remarks::{Log, Topic};
use crate::data::folder;
use crate::data::letters::composed;
use crate::error::{Error, name};

/// The pictures of some folders by their normalised names, with and without the extension.
struct Pictures {
    whole: HashMap<String, Vec<PathBuf>>,
    stems: HashMap<String, Vec<PathBuf>>,
}

/// Normalises a name: lower case, each accented letter as one character.
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

    /// The only picture whose name matches `listed` and whose path `may_be` accepts; `None` if there are several.
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

/// The normalised names of the folders of a path, innermost first.
fn folders_of(path: &Path) -> Vec<String> {
    let folders = path.parent().into_iter().flat_map(Path::iter);
    let mut names: Vec<String> = folders.map(|part| plain(&part.to_string_lossy())).collect();
    names.reverse();
    names
}

/// Maps folders of other computers to the folders here in which their images were found.
fn folders_here(entries: &[Entry]) -> HashMap<PathBuf, PathBuf> {
    let pair = |entry: &Entry| {
        let there = entry.elsewhere.as_ref()?.parent()?;
        let here = entry.file.as_ref()?.parent()?;
        Some((there.to_path_buf(), here.to_path_buf()))
    };
    entries.iter().filter_map(pair).collect()
}

/// Finds images whose listed names have other capitals, another encoding of accented letters, or no extension. It
/// searches the folders `used`, in which other images were found, and the folder that the image is listed with.
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
        // A file that another entry has is also this one's only if the two names are the same after composing
        // accents.
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
