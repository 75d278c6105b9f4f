//! Reads a folder of pictures without captions, for distillation, which needs none.

use std::path::{Path, PathBuf};

use super::entries::Entry;
use super::locate;
use super::split::Split;
use crate::data::folder;
use crate::error::Result;

/// The first usual folder of images that holds any picture.
pub(super) fn find(root: &Path) -> Option<PathBuf> {
    locate::known_folders(root).into_iter().find(|folder| {
        let entries = folder::expand(&[folder], false).entries;
        entries.iter().any(Result::is_ok)
    })
}

/// The first of all folders that holds any picture, relative to `root`.
pub(super) fn elsewhere(root: &Path) -> Option<PathBuf> {
    let found = locate::folders(root).into_iter().find(|folder| {
        let entries = folder::expand(&[folder], false).entries;
        entries.iter().any(Result::is_ok)
    })?;
    Some(found.strip_prefix(root).unwrap_or(&found).to_path_buf())
}

/// All pictures of a folder, as train: without captions there is nothing to score.
pub(super) fn read(folder: &Path) -> Result<Vec<Entry>> {
    let paths = folder::expand(&[folder], false).entries.into_iter();
    paths
        .map(|path| {
            let file = path?;
            let name = file
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let mut entry = Entry::named(name, Vec::new(), Split::Train);
            entry.file = Some(file);
            Ok(entry)
        })
        .collect()
}
