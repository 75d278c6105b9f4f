//! Where a dataset's images lie.
//!
//! Datasets are unpacked in many ways: `Flicker8k_Dataset` inside `Flickr8k_Dataset`, `train2014` inside `images`, or all
//! images of COCO in one folder. So the images are looked for beside the captions, in the folders that the datasets
//! are usually unpacked to, and then in all other folders, two levels deep. The folder that holds the most of them is
//! taken; what it lacks may lie in others, as long as these hold none of what the first one has (as a folder of
//! thumbnails would).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::entries::Entry;
use super::names::{is_picture, last_part};
use super::remarks::{Log, Topic};
use crate::data::folder;
use crate::data::letters::composed;
use crate::error::{Error, name};

/// Where the images may lie, relative to the dataset's folder.
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

/// So many folders are looked into.
const MOST_FOLDERS: usize = 100;

/// The folders that datasets are usually unpacked to, those that are there.
pub(super) fn known_folders(root: &Path) -> Vec<PathBuf> {
    let folders = KNOWN.iter().map(|name| match *name {
        "" => root.to_path_buf(),
        name => root.join(name),
    });
    folders.filter(|folder| folder.is_dir()).collect()
}

/// Those, and then the other folders in `root` and in these, in order.
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
    // A folder of pictures has many files, about which the listing itself says what they are.
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

/// Looks for the files of all entries that have none yet. `is_own`: whether their names were written by hand, and are
/// found with other capitals or without an ending too. Returns the folders with the images.
pub(super) fn locate(
    root: &Path,
    entries: &mut [Entry],
    is_own: bool,
    log: &mut Log,
) -> Vec<PathBuf> {
    let mut used = Vec::new();
    assign(&known_folders(root), entries, &mut used, &|entry| {
        Some(entry.path.clone())
    });
    if !is_incomplete(entries) {
        return used;
    }
    let all = folders(root);
    assign(&all, entries, &mut used, &|entry| Some(entry.path.clone()));
    if is_incomplete(entries) {
        let unique = unique_names(entries);
        let file_name = |entry: &Entry| {
            let name = entry.path.file_name()?.to_str()?;
            (unique.contains(name) && entry.path != Path::new(name)).then(|| name.into())
        };
        assign(&all, entries, &mut used, &file_name);
    }
    if is_own && is_incomplete(entries) {
        by_other_names(&all, entries, &mut used, log);
    }
    used
}

fn is_incomplete(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| entry.file.is_none())
}

/// File names that one entry alone has.
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

/// Gives files to the entries that have none: `path` says where in a folder that of an entry would be.
fn assign(
    folders: &[PathBuf],
    entries: &mut [Entry],
    used: &mut Vec<PathBuf>,
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
        .filter(|folder| !used.contains(folder))
        .collect();
    // As many as that show whether a folder holds the same images once more.
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
        used.push(folder.clone());
        found.extend(here);
        open = rest;
    }
}

/// Finds what is written in the list with other capitals, other spellings of the same letters, or without the ending.
fn by_other_names(
    folders: &[PathBuf],
    entries: &mut [Entry],
    used: &mut Vec<PathBuf>,
    log: &mut Log,
) {
    let plain = |name: &str| composed(name).to_lowercase();
    let stem = |name: &str| {
        name.rsplit_once('.')
            .map_or(name.to_string(), |(stem, _)| stem.to_string())
    };
    // Of each plain name, the only file; none where there are several.
    let mut whole: HashMap<String, Option<PathBuf>> = HashMap::new();
    let mut stems: HashMap<String, Option<PathBuf>> = HashMap::new();
    let searched = match used.is_empty() {
        true => folders,
        false => used.as_slice(),
    };
    for picture in folder::expand(searched, false)
        .entries
        .into_iter()
        .flatten()
    {
        let file_name = plain(&picture.file_name().unwrap_or_default().to_string_lossy());
        for (map, key) in [(&mut stems, stem(&file_name)), (&mut whole, file_name)] {
            let only = map.entry(key).or_insert_with(|| Some(picture.clone()));
            if only.as_ref() != Some(&picture) {
                *only = None;
            }
        }
    }
    let taken: HashSet<PathBuf> = entries
        .iter()
        .filter_map(|entry| entry.file.clone())
        .collect();
    let mut renamed = Vec::new();
    let mut places = BTreeSet::new();
    for entry in entries.iter_mut().filter(|entry| entry.file.is_none()) {
        let file_name = plain(last_part(&entry.name));
        let by_stem = || {
            (!is_picture(&file_name))
                .then(|| stems.get(&file_name))
                .flatten()
        };
        let file = whole.get(&file_name).or_else(by_stem).cloned().flatten();
        let Some(file) = file.filter(|file| !taken.contains(file)) else {
            continue;
        };
        renamed.push(format!(
            "{} for {}",
            name(&file.file_name().unwrap_or_default()),
            entry.name
        ));
        places.extend(file.parent().map(Path::to_path_buf));
        entry.file = Some(file);
    }
    used.extend(
        places
            .into_iter()
            .filter(|place| !used.contains(place))
            .collect::<Vec<_>>(),
    );
    if let Some(first) = renamed.first() {
        let what = format_args!(
            "{} pictures are called a little differently from what is listed (capitals, ending), the first is {first}",
            renamed.len()
        );
        let root = folders.first().cloned().unwrap_or_default();
        log.remark(Topic::OtherName, renamed.iter(), Error::file(root, what));
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
