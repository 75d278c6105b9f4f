//! The images that a dataset's files list, before their files are looked for.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::remarks::{Log, Topic};
use super::split::{Split, SplitSource};
use crate::data::letters::composed;
use crate::error::{self, Error, Result};

/// An image as a dataset's files list it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    /// The dataset's number for the image, if it has one.
    pub(super) number: Option<u64>,
    /// Path relative to one of the folders in which images may lie.
    pub(super) path: PathBuf,
    pub(super) captions: Vec<String>,
    pub(super) split: Split,
    /// For an image that is listed by a path on another computer or by a URL: the whole path without a leading
    /// `/` or scheme.
    pub(super) elsewhere: Option<PathBuf>,
    /// The file, once it has been found.
    pub(super) file: Option<PathBuf>,
}

impl Entry {
    /// An image whose name is its path.
    pub(super) fn named(name: String, captions: Vec<String>, split: Split) -> Self {
        Entry {
            path: (&name).into(),
            name,
            number: None,
            captions,
            split,
            elsewhere: None,
            file: None,
        }
    }
}

/// Captions by image name, sorted by name.
#[derive(Debug, Default)]
pub(super) struct Captions(pub(super) BTreeMap<String, Vec<String>>);

impl Captions {
    /// Adds a caption to an image. A blank caption still registers the image. If it has no other caption, it is
    /// reported and not silently left out.
    pub(super) fn add(&mut self, name: &str, caption: &str) {
        let captions = match self.0.get_mut(name) {
            Some(captions) => captions,
            None => self.0.entry(name.to_string()).or_default(),
        };
        captions.extend(written(caption));
    }

    /// Makes entries whose splits a rule assigns.
    pub(super) fn split_by(self, rule: SplitSource) -> Vec<Entry> {
        let splits: Vec<Split> = {
            let by_name = rule.of_names(self.0.keys().map(String::as_str));
            by_name.into_values().collect()
        };
        // Both maps are sorted by the same names.
        let pairs = self.0.into_iter().zip(splits);
        pairs
            .map(|((name, captions), split)| Entry::named(name, captions, split))
            .collect()
    }
}

/// Trims a caption and joins its lines into one; `None` if it is blank.
pub(super) fn written(caption: &str) -> Option<String> {
    let caption = composed(caption.trim());
    let caption = match caption.contains(['\n', '\r']) {
        true => caption.split_whitespace().collect::<Vec<_>>().join(" "),
        false => caption,
    };
    (!caption.is_empty()).then_some(caption)
}

/// Merges the entries of the same image: the captions of later entries are added to those of the first.
///
/// # Errors
/// If an image is in two splits. A model would be tested on images that it was trained on.
pub(super) fn merged(
    entries: Vec<Entry>,
    by_name: bool,
    root: &Path,
    log: &mut Log,
) -> Result<Vec<Entry>> {
    let mut places: HashMap<(PathBuf, Option<u64>), usize> = HashMap::with_capacity(entries.len());
    let mut kept: Vec<Entry> = Vec::with_capacity(entries.len());
    for entry in entries {
        let key = match by_name {
            // If two folders have a file of this name, the number says whether it is the same image.
            true => (PathBuf::from(&entry.name), entry.number),
            false => (entry.path.clone(), None),
        };
        let Some(place) = places.get(&key) else {
            places.insert(key, kept.len());
            kept.push(entry);
            continue;
        };
        let first = &mut kept[*place];
        if first.split != entry.split {
            let what = format_args!(
                "{} is in two splits, {} and {}; take it out of one of them",
                error::name(&entry.path),
                first.split,
                entry.split
            );
            log.broken(Topic::TwoSplits, Error::file(root, what))?;
            continue;
        }
        first.captions.extend(entry.captions);
    }
    Ok(kept)
}
