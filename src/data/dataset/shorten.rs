//! Shortens the names of images that a table lists by whole paths of another computer or by URLs.

use std::collections::HashMap;
use std::path::PathBuf;

use super::entries::Entry;
use super::table::Row;

/// The whole paths of such images, by their shortened names.
#[derive(Debug, Default)]
pub(super) struct Elsewhere(HashMap<String, PathBuf>);

impl Elsewhere {
    /// Removes from the names the folders with which all such paths begin: `/C/pictures/cats/1.jpg` and
    /// `/C/pictures/dogs/1.jpg` become `cats/1.jpg` and `dogs/1.jpg`. Then each name is prefixed with its row's
    /// folder, if `folders` has one.
    pub(super) fn shorten(rows: &mut [Row], folders: &[PathBuf]) -> Self {
        let mut common: Option<Vec<&str>> = None;
        for path in rows.iter().filter_map(|row| row.image.strip_prefix('/')) {
            let (folder, _) = path.rsplit_once('/').unwrap_or_default();
            let parts = folder.split('/').filter(|part| !part.is_empty());
            match &mut common {
                None => common = Some(parts.collect()),
                Some(common) => {
                    let same = common.iter().zip(parts).take_while(|(a, b)| *a == b);
                    let length = same.count();
                    common.truncate(length);
                }
            }
        }
        let skipped: usize = common
            .into_iter()
            .flatten()
            .map(|part| part.len() + 1)
            .sum();
        let mut elsewhere = Elsewhere::default();
        for (at, row) in rows.iter_mut().enumerate() {
            let path = row.image.strip_prefix('/').map(str::to_string);
            let mut name = match &path {
                Some(path) => path[skipped..].to_string(),
                None => std::mem::take(&mut row.image),
            };
            if let Some(folder) = folders.get(at).filter(|f| !f.as_os_str().is_empty()) {
                name = format!("{}/{name}", folder.to_string_lossy());
            }
            if let Some(path) = path {
                elsewhere.0.insert(name.clone(), path.into());
            }
            row.image = name;
        }
        elsewhere
    }

    /// Stores the whole paths in the entries that are listed by one.
    pub(super) fn note(mut self, entries: &mut [Entry]) {
        for entry in entries {
            entry.elsewhere = self.0.remove(&entry.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(paths: &[&str]) -> Vec<String> {
        let row = |path: &&str| Row {
            image: path.to_string(),
            captions: Vec::new(),
            split: None,
        };
        let mut rows: Vec<Row> = paths.iter().map(row).collect();
        Elsewhere::shorten(&mut rows, &[]);
        rows.into_iter().map(|row| row.image).collect()
    }

    #[test]
    fn what_tells_pictures_apart_is_kept() {
        assert_eq!(names(&["/a/b/1.jpg", "/a/b/2.jpg"]), ["1.jpg", "2.jpg"]);
        assert_eq!(
            names(&["/a/cats/1.jpg", "x/1.jpg", "/a/dogs/1.jpg"]),
            ["cats/1.jpg", "x/1.jpg", "dogs/1.jpg"]
        );
        assert_eq!(names(&["/a/b/1.jpg", "/1.jpg"]), ["a/b/1.jpg", "1.jpg"]);
    }
}
