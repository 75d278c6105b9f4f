//! Locates a dataset's images.
//!
//! Datasets are unpacked in many ways: `Flicker8k_Dataset` inside `Flickr8k_Dataset`, `train2014` inside `images`, or
//! all images of COCO in one folder. The search begins beside the captions and in the folders to which the datasets
//! are usually unpacked. It continues in all other folders, two levels deep. The folder that holds the most of the
//! images is taken. The images that it lacks may lie in other folders, as long as those hold none of the images of
//! the first one. This rule excludes a folder of thumbnails.
//!
//! A name that is listed with a folder, `cats/1.jpg`, means a file whose path ends so, and no other file `1.jpg`. The
//! published datasets whose files name a folder are the exception: they are also unpacked into one folder, as their
//! file names are unique.

mod doubt;
mod elsewhere;
mod otherwise;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::entries::Entry;
use super::remarks::Log;
use crate::data::folder;
use crate::error::Result;

/// The usual folders of images, relative to the dataset's folder.
pub(super) const KNOWN: [&str; 10] = [
    "",
    "images",
    "Images",
    "Flicker8k_Dataset",
    "Flickr8k_Dataset",
    "Flickr8k_Dataset/Flicker8k_Dataset",
    "flickr30k-images",
    "flickr30k_images",
    "flickr30k_images/flickr30k_images",
    "Flickr30k_Images",
];

/// The maximum number of folders that are searched.
const MOST_FOLDERS: usize = 100;

/// The folders of [`KNOWN`] that exist.
pub(super) fn known_folders(root: &Path) -> Vec<PathBuf> {
    let folders = KNOWN.iter().map(|name| match *name {
        "" => root.to_path_buf(),
        name => root.join(name),
    });
    folders.filter(|folder| folder.is_dir()).collect()
}

/// The folders of [`known_folders`], then the other folders in `root` and in those, sorted.
pub(super) fn folders(root: &Path) -> Vec<PathBuf> {
    let mut folders = known_folders(root);
    let mut first = subfolders(root);
    let second: Vec<PathBuf> = first.iter().flat_map(|folder| subfolders(folder)).collect();
    first.extend(second);
    for folder in first {
        if !folders.contains(&folder) && folders.len() < MOST_FOLDERS {
            folders.push(folder);
        }
    }
    folders
}

fn subfolders(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let visible = entries.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'));
    // A folder of pictures has many files. The directory listing gives their kinds without a further system call
    // each.
    let is_folder = |entry: &fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_symlink() => entry.path().is_dir(),
        kind => kind.is_ok_and(|kind| kind.is_dir()),
    };
    let mut found: Vec<PathBuf> = visible
        .filter(is_folder)
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

/// How strictly names are matched to files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// Names of published datasets, each of which is unique without its folder.
    Published,
    /// Names in a published dataset's table. It names no folders unless somebody made it for other pictures.
    Table,
    /// Names that were written by hand. They also match with other capitals or without an extension.
    Own,
}

/// A folder from which images are taken, and the indices of their entries.
struct Used {
    folder: PathBuf,
    entries: Vec<usize>,
}

/// Finds the files of all entries that have none yet, and merges entries that have the same file. Returns the folders
/// of the images.
///
/// # Errors
/// If an image may lie in either of two folders, or one file is in two splits.
pub(super) fn locate(
    root: &Path,
    entries: &mut Vec<Entry>,
    names: Names,
    log: &mut Log,
) -> Result<Vec<PathBuf>> {
    let mut used = Vec::new();
    let all = match entries.iter().any(|entry| entry.elsewhere.is_some()) {
        true => folders(root),
        false => Vec::new(),
    };
    let mut places = BTreeSet::new();
    places.extend(elsewhere::resolve(root, &all, entries, log)?);
    // If folders of such paths exist here, an image that they lack is missing and is not searched elsewhere.
    let is_open = |entry: &Entry| entry.elsewhere.is_none() || places.is_empty();
    let path = |entry: &Entry| is_open(entry).then(|| entry.path.clone());
    assign(&known_folders(root), entries, &mut used, &path);
    if is_incomplete(entries) {
        let all = folders(root);
        assign(&all, entries, &mut used, &path);
        elsewhere::in_root_itself(root, entries);
        if is_incomplete(entries) {
            let unique = unique_names(entries);
            let file_name = |entry: &Entry| {
                let name = entry.path.file_name()?.to_str()?;
                let may_be = entry.elsewhere.is_some() || names == Names::Published;
                let is_other = unique.contains(name) && entry.path != Path::new(name);
                (may_be && is_open(entry) && is_other).then(|| name.into())
            };
            assign(&all, entries, &mut used, &file_name);
        }
    }
    if names != Names::Published {
        if used.iter().any(|taken| taken.folder != root) {
            doubt::same_names(root, &folders(root), &used, entries, log)?;
        }
        elsewhere::remark(root, entries, log);
    }
    places.extend(used.into_iter().map(|taken| taken.folder));
    let files = entries.iter().filter_map(|entry| entry.file.as_ref());
    places.extend(files.filter_map(|file| Some(file.parent()?.to_path_buf())));
    if names == Names::Own && is_incomplete(entries) {
        let found: Vec<PathBuf> = places.iter().cloned().collect();
        places.extend(otherwise::find(&folders(root), &found, entries, log));
    }
    *entries = doubt::same_files(root, std::mem::take(entries), log)?;
    Ok(places.into_iter().collect())
}

fn is_incomplete(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| entry.file.is_none())
}

/// File names that exactly one entry has.
fn unique_names(entries: &[Entry]) -> HashSet<String> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for name in entries
        .iter()
        .filter_map(|entry| entry.path.file_name()?.to_str())
    {
        *counts.entry(name).or_default() += 1;
    }
    let unique = counts.into_iter().filter(|(_, count)| *count == 1);
    unique.map(|(name, _)| name.to_string()).collect()
}

/// Assigns files to the entries that have none. `path` returns an entry's path relative to a folder.
fn assign(
    folders: &[PathBuf],
    entries: &mut [Entry],
    used: &mut Vec<Used>,
    path: &dyn Fn(&Entry) -> Option<PathBuf>,
) {
    let paths: Vec<Option<PathBuf>> = entries.iter().map(path).collect();
    let is_in = |folder: &Path, at: usize| {
        paths[at]
            .as_ref()
            .is_some_and(|path| folder.join(path).is_file())
    };
    let mut open: Vec<usize> = (0..entries.len())
        .filter(|at| entries[*at].file.is_none())
        .collect();
    let mut found: Vec<usize> = (0..entries.len())
        .filter(|at| entries[*at].file.is_some())
        .collect();
    let mut left: Vec<&PathBuf> = folders
        .iter()
        .filter(|folder| used.iter().all(|taken| taken.folder != **folder))
        .collect();
    // Checking this many images shows whether a folder is a copy of the images that were already found.
    const ENOUGH: usize = 200;
    while !open.is_empty() {
        left.retain(|folder| !found.iter().take(ENOUGH).any(|at| is_in(folder, *at)));
        let hits = |folder: &Path| open.iter().filter(|at| is_in(folder, **at)).count();
        let counts = left
            .iter()
            .enumerate()
            .map(|(rank, folder)| (hits(folder), std::cmp::Reverse(rank)));
        let Some((1.., std::cmp::Reverse(rank))) = counts.max() else {
            return;
        };
        let folder = left.remove(rank);
        let (here, rest): (Vec<usize>, Vec<usize>) =
            open.into_iter().partition(|at| is_in(folder, *at));
        for at in &here {
            entries[*at].file = paths[*at].as_ref().map(|path| folder.join(path));
        }
        used.push(Used {
            folder: folder.clone(),
            entries: here.clone(),
        });
        found.extend(here);
        open = rest;
    }
}

/// The pictures in these folders that belong to no entry.
pub(super) fn unlisted(folders: &[PathBuf], entries: &[Entry]) -> Vec<PathBuf> {
    let listed: HashSet<&Path> = entries
        .iter()
        .filter_map(|entry| entry.file.as_deref())
        .collect();
    let pictures = folder::expand(folders, false).entries.into_iter().flatten();
    pictures
        .filter(|picture| !listed.contains(picture.as_path()))
        .collect()
}
