//! Images that are listed by whole paths on another computer or by URLs: `C:\photos\cats\1.jpg`.
//!
//! The beginning of such a path means nothing here, but its end may. All images of one folder there lie in one folder
//! here: the one whose path has the longest end in common with it (`photos/cats`, else `cats`). A file's name alone
//! counts only if no folder of the list exists here, and never if several images have that name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::super::entries::Entry;
use super::super::remarks::{Log, Topic};
use crate::error::{Error, Result, name};

/// Finds the images that are listed by such paths. Returns their folders.
///
/// # Errors
/// If several folders may be meant.
pub(super) fn resolve(
    root: &Path,
    folders: &[PathBuf],
    entries: &mut [Entry],
    log: &mut Log,
) -> Result<Vec<PathBuf>> {
    let mut groups: BTreeMap<PathBuf, Vec<usize>> = BTreeMap::new();
    for (at, entry) in entries.iter().enumerate() {
        if let (None, Some(path)) = (&entry.file, &entry.elsewhere) {
            let folder = path.parent().unwrap_or(Path::new(""));
            groups.entry(folder.to_path_buf()).or_default().push(at);
        }
    }
    let whole = root.canonicalize().unwrap_or_else(|_| root.to_path_buf());
    let mut used = Vec::new();
    for (folder, group) in groups {
        let file_in = |place: &Path, at: usize| {
            let name = entries[at].elsewhere.as_ref()?.file_name()?;
            Some(place.join(name)).filter(|file| file.is_file())
        };
        let hits = |place: &Path| {
            let files = group.iter().filter_map(|at| file_in(place, *at));
            files.count()
        };
        let mut places = places(root, &whole, folders, &folder, &hits).into_iter();
        let Some(place) = places.next() else {
            continue;
        };
        if let Some(other) = places.next() {
            let [here, there] = [&place, &other].map(|one| one.strip_prefix(root).unwrap_or(one));
            let what = format_args!(
                "{} of the list may be {} or {} here; move away the one that is not meant",
                name(&folder),
                name(&here),
                name(&there)
            );
            log.broken(Topic::SeveralFolders, Error::file(root, what))?;
        }
        let files: Vec<_> = group.iter().map(|at| file_in(&place, *at)).collect();
        for (at, file) in group.into_iter().zip(files) {
            entries[at].file = file;
        }
        used.push(place);
    }
    Ok(used)
}

/// Finds the folders here that match the longest end of `folder`'s path under which any of its images lie. Returns
/// the folder that holds the most images, and those that hold as many.
fn places(
    root: &Path,
    whole: &Path,
    folders: &[PathBuf],
    folder: &Path,
    hits: &dyn Fn(&Path) -> usize,
) -> Vec<PathBuf> {
    let parts: Vec<_> = folder.iter().collect();
    for start in 0..parts.len() {
        let end: PathBuf = parts[start..].iter().collect();
        let below = folders.iter().map(|base| base.join(&end));
        // The dataset's folder may itself be a part of the path.
        let itself = (start + 1..=parts.len()).filter_map(|middle| {
            let upper: PathBuf = parts[start..middle].iter().collect();
            let lower: PathBuf = parts[middle..].iter().collect();
            whole.ends_with(upper).then(|| root.join(lower))
        });
        let mut best: Vec<PathBuf> = Vec::new();
        let mut most = 1;
        let mut seen = BTreeSet::new();
        for place in below.chain(itself).filter(|place| place.is_dir()) {
            if !seen.insert(place.canonicalize().unwrap_or_else(|_| place.clone())) {
                continue;
            }
            let count = hits(&place);
            if count > most {
                best.clear();
            }
            if count >= most {
                most = count;
                best.push(place);
            }
        }
        if !best.is_empty() {
            return best;
        }
    }
    Vec::new()
}

/// Finds images that are listed with the name of the dataset's folder itself: `photos/1.jpg` in a dataset's folder
/// named `photos`.
pub(super) fn in_root_itself(root: &Path, entries: &mut [Entry]) {
    let whole = root.canonicalize().unwrap_or_else(|_| root.to_path_buf());
    for entry in entries {
        if entry.file.is_some() || entry.elsewhere.is_some() {
            continue;
        }
        let parts: Vec<_> = entry.path.iter().collect();
        let files = (1..parts.len()).filter_map(|middle| {
            let upper: PathBuf = parts[..middle].iter().collect();
            let lower: PathBuf = parts[middle..].iter().collect();
            whole.ends_with(upper).then(|| root.join(lower))
        });
        let mut files = files.filter(|file| file.is_file());
        entry.file = files.next();
    }
}

/// Remarks on images that are listed with folders but were found by their file names alone.
pub(super) fn remark(root: &Path, entries: &[Entry], log: &mut Log) {
    // If one folder holds all of them, the folder does not distinguish images.
    let found = entries.iter().filter_map(|entry| {
        let listed = entry.elsewhere.as_ref()?.parent()?;
        let folder = entry.file.as_ref()?.parent()?;
        let is_same = folder.file_name() == listed.file_name();
        (!is_same && entry.path.parent() != Some(Path::new(""))).then(|| {
            let here = folder.strip_prefix(root).unwrap_or(folder);
            format!("{} in {}", entry.name, name(&here))
        })
    });
    let found: Vec<String> = found.collect();
    if let Some(first) = found.first() {
        let what = format_args!(
            "{} pictures are listed with folders that are not here, and are found by the names of their files alone, the first \
             is {first}",
            found.len()
        );
        log.remark(Topic::OtherName, found.iter(), Error::file(root, what));
    }
}
