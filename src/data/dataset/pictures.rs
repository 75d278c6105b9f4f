//! A folder of pictures without captions, for what needs none: distillation.

use std::path::{Path, PathBuf};

use super::{Entry, IMAGE_FOLDERS, Split};
use crate::data::folder;
use crate::error::Result;

/// The first of the folders in which a dataset's images may lie that holds any.
pub(super) fn find(root: &Path) -> Option<PathBuf> {
    let folders = IMAGE_FOLDERS.iter().map(|name| root.join(name));
    folders.filter(|folder| folder.is_dir()).find(|folder| {
        let entries = folder::expand(&[folder], false).entries;
        entries.iter().any(Result::is_ok)
    })
}

/// All pictures of a folder, to train on: without captions there is nothing to score.
pub(super) fn read(folder: &Path) -> Result<Vec<Entry>> {
    let paths = folder::expand(&[folder], false).entries.into_iter();
    paths
        .map(|path| {
            let path = PathBuf::from(path?.file_name().unwrap_or_default());
            Ok(Entry {
                number: None,
                name: path.to_string_lossy().into_owned(),
                path,
                captions: Vec::new(),
                split: Split::Train,
            })
        })
        .collect()
}
