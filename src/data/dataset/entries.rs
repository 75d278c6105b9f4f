//! What a dataset's files list, before anyone looked whether it is there.

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
    /// The number that the dataset calls the image by, where it has one.
    pub(super) number: Option<u64>,
    /// Below one of the folders in which images may lie.
    pub(super) path: PathBuf,
    pub(super) captions: Vec<String>,
    pub(super) split: Split,
    /// The whole path, without its beginning, of an image that is listed by a path on another computer or in the web.
    pub(super) elsewhere: Option<PathBuf>,
    /// The file, where it is there.
    pub(super) file: Option<PathBuf>,
}

impl Entry {
    /// An image that is called by its path.
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

/// Captions by image name, in the order of the names.
#[derive(Debug, Default)]
pub(super) struct Captions(pub(super) BTreeMap<String, Vec<String>>);

impl Captions {
    /// Adds a caption to an image. A blank one still makes the image known, so that one without any
    /// other is reported instead of silently left out.
    pub(super) fn add(&mut self, name: &str, caption: &str) {
        let captions = match self.0.get_mut(name) {
            Some(captions) => captions,
            None => self.0.entry(name.to_string()).or_default(),
        };
        captions.extend(written(caption));
    }

    /// Entries with the splits that a rule makes.
    pub(super) fn split_by(self, rule: SplitSource) -> Vec<Entry> {
        let splits: Vec<Split> = {
            let by_name = rule.of_names(self.0.keys().map(String::as_str));
            by_name.into_values().collect()
        };
        // Both maps are in the order of the same names.
        let pairs = self.0.into_iter().zip(splits);
        pairs
            .map(|((name, captions), split)| Entry::named(name, captions, split))
            .collect()
    }
}

/// A caption without what is around it, in one line; none where it is blank.
pub(super) fn written(caption: &str) -> Option<String> {
    let caption = composed(caption.trim());
    let caption = match caption.contains(['\n', '\r']) {
        true => caption.split_whitespace().collect::<Vec<_>>().join(" "),
        false => caption,
    };
    (!caption.is_empty()).then_some(caption)
}

/// The entries with each image once: the captions of its further entries are added to those of its first.
///
/// # Errors
/// Where an image is in two splits, which would let a model be tested on what it learned by heart.
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
            // Of the same name in two folders, the number says whether it is the same image.
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
