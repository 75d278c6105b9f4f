//! Checks for ambiguity after the images are found: equal names in several folders, and several names for one file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::super::entries::Entry;
use super::super::remarks::{Log, Topic};
use super::{KNOWN, Used};
use crate::error::{Error, Result, name};

/// Number of a folder's images that are looked for in another folder before that folder is ignored.
const SAMPLE: usize = 200;

/// A folder relative to the dataset's folder, for messages.
fn short(root: &Path, folder: &Path) -> String {
    match folder.strip_prefix(root).unwrap_or(folder) {
        inside if inside.as_os_str().is_empty() => "the dataset's folder itself".to_string(),
        inside => name(&inside).to_string(),
    }
}

/// Remarks on which folder was taken where other folders hold images of the same names.
///
/// # Errors
/// If another folder holds all of them, so the choice is ambiguous.
pub(super) fn same_names(
    root: &Path,
    folders: &[PathBuf],
    used: &[Used],
    entries: &[Entry],
    log: &mut Log,
) -> Result<()> {
    let mut chosen = Vec::new();
    // A name is a path relative to the dataset's folder, so images found in that folder are not ambiguous.
    for taken in used.iter().filter(|taken| taken.folder != root) {
        let inside = |at: &usize| {
            let file = entries[*at].file.as_ref()?;
            file.strip_prefix(&taken.folder).ok()
        };
        for other in folders.iter().filter(|other| **other != taken.folder) {
            let is_there = |at: &&usize| inside(at).is_some_and(|path| other.join(path).is_file());
            if !taken.entries.iter().take(SAMPLE).any(|at| is_there(&at)) {
                continue;
            }
            let both: Vec<&usize> = taken.entries.iter().filter(is_there).collect();
            let first = &entries[*both[0]];
            let file = inside(both[0]).map(|path| other.join(path));
            if is_same(file.as_ref(), first.file.as_ref()) {
                continue;
            }
            let (here, there) = (short(root, &taken.folder), short(root, other));
            let is_known = KNOWN.iter().any(|known| root.join(known) == taken.folder);
            if both.len() == taken.entries.len() && !is_known {
                let what = format_args!(
                    "{} pictures lie both in {here} and in {there}, the first is {}; write the folder that is meant into the \
                     table, as in {here}/{}, or move the other one away",
                    both.len(),
                    first.name,
                    first.name
                );
                log.broken(Topic::SeveralFolders, Error::file(root, what))?;
                continue;
            }
            chosen.push(format!(
                "{} of {} that are taken from {here} lie in {there} too ({})",
                both.len(),
                taken.entries.len(),
                first.name
            ));
        }
    }
    if let Some(first) = chosen.first() {
        let what = format_args!("pictures of the same names lie in several folders: {first}");
        log.remark(Topic::Choice, chosen.iter(), Error::file(root, what));
    }
    Ok(())
}

/// Whether two paths are one file, by a link or on a file system that ignores case.
fn is_same(one: Option<&PathBuf>, two: Option<&PathBuf>) -> bool {
    let real = |path: Option<&PathBuf>| path.and_then(|path| path.canonicalize().ok());
    real(one).is_some_and(|one| Some(one) == real(two))
}

/// Merges the entries of the same file: the captions of later entries are added to those of the first.
///
/// # Errors
/// If an image is in two splits by two names, or several whole paths of another computer mean one file.
pub(super) fn same_files(root: &Path, entries: Vec<Entry>, log: &mut Log) -> Result<Vec<Entry>> {
    let mut places: HashMap<PathBuf, usize> = HashMap::with_capacity(entries.len());
    let mut kept: Vec<Entry> = Vec::with_capacity(entries.len());
    for entry in entries {
        let place = entry.file.as_ref().and_then(|file| places.get(file));
        let Some(place) = place else {
            if let Some(file) = &entry.file {
                places.insert(file.clone(), kept.len());
            }
            kept.push(entry);
            continue;
        };
        let first = &mut kept[*place];
        if first.split != entry.split {
            let what = format_args!(
                "{} and {} are one picture in two splits, {} and {}; take it out of one of them",
                first.name, entry.name, first.split, entry.split
            );
            log.broken(Topic::TwoSplits, Error::file(root, what))?;
            continue;
        }
        if let (Some(one), Some(two)) = (&first.elsewhere, &entry.elsewhere)
            && one != two
        {
            let what = format_args!(
                "{} and {} are two pictures in the list, and one file here; have their folders here too, or write names \
                 that are files here into the table",
                name(one),
                name(two)
            );
            log.broken(Topic::SharedFile, Error::file(root, what))?;
            continue;
        }
        first.captions.extend(entry.captions);
    }
    Ok(kept)
}
