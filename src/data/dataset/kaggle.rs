//! Reads Flickr8k and Flickr30k as Kaggle distributes them: the table `captions.txt`.

use std::path::{Path, PathBuf};

use super::entries::Entry;
use super::first_file;
use super::flickr::split_by_lists;
use super::given::Columns;
use super::remarks::Log;
use super::shorten::Elsewhere;
use super::split::SplitSource;
use super::tables;
use crate::error::Result;

pub(super) fn find(root: &Path) -> Option<PathBuf> {
    first_file(root, &["captions.txt"])
}

pub(super) fn read(
    file: &Path,
    columns: Option<&Columns>,
    log: &mut Log,
) -> Result<(SplitSource, Vec<Entry>)> {
    let mut rows = tables::rows(file, columns, log)?;
    tables::refuse_none(&rows, file, log)?;
    let elsewhere = Elsewhere::shorten(&mut rows, &[]);
    let (source, mut entries) = match rows.iter().any(|row| row.split.is_some()) {
        true => tables::split(rows, file, log)?,
        false => split_by_lists(file, tables::captions(rows), log)?,
    };
    elsewhere.note(&mut entries);
    Ok((source, entries))
}
