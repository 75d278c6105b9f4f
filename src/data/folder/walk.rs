//! A walk through one folder.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, DirEntry, FileType};
use std::io;
use std::path::{Path, PathBuf};

use super::PassedOver;
use super::kinds::{self, Named};
use crate::error::{Error, Result, is_link_loop, reason};

/// The state of a walk: what was found so far, and what is still to be visited.
pub(super) struct Walk<'a> {
    recursive: bool,
    /// Images, and entries that should be images but cannot be used, with the error.
    pub(super) found: Vec<(PathBuf, Result<()>)>,
    pub(super) passed_over: &'a mut PassedOver,
    pub(super) has_subfolders: bool,
    /// The real paths of the folders that were visited.
    visited: HashSet<PathBuf>,
    folders: Vec<PathBuf>,
    /// Links to folders, sorted. They are followed after all folders have been visited, so that an image that is
    /// reachable in both ways gets its real path.
    links: BTreeSet<PathBuf>,
}

impl<'a> Walk<'a> {
    /// Walks through `root`, and with `recursive` through its subfolders.
    pub(super) fn through(root: &Path, recursive: bool, passed_over: &'a mut PassedOver) -> Self {
        let mut walk = Walk {
            recursive,
            found: Vec::new(),
            passed_over,
            has_subfolders: false,
            visited: HashSet::new(),
            folders: vec![root.to_path_buf()],
            links: BTreeSet::new(),
        };
        loop {
            if let Some(folder) = walk.folders.pop() {
                walk.folder(folder);
            } else if let Some(link) = walk.links.pop_first() {
                walk.link(link);
            } else {
                break;
            }
        }
        walk.found.sort_by(|(a, _), (b, _)| a.cmp(b));
        walk
    }

    fn report(&mut self, path: PathBuf, error: Error) {
        self.found.push((path, Err(error)));
    }

    fn folder(&mut self, folder: PathBuf) {
        match fs::canonicalize(&folder).map(|real| self.visited.insert(real)) {
            Ok(true) => {}
            Ok(false) => return,
            Err(e) => return self.report(folder.clone(), Error::unread(folder, &e)),
        }
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) => return self.report(folder.clone(), Error::unread(folder, &e)),
        };
        for entry in entries {
            match entry {
                Ok(entry) => self.entry(&entry),
                Err(e) => {
                    let what = format_args!("cannot be read to its end: {}", reason(&e));
                    let error = Error::file(&folder, what).because(e);
                    return self.report(folder.clone(), error);
                }
            }
        }
    }

    /// Follows a link to a folder, unless the link lies in that folder: such a cycle has no end.
    fn link(&mut self, link: PathBuf) {
        let around = link.parent().map_or(Ok(PathBuf::new()), fs::canonicalize);
        match (fs::canonicalize(&link), around) {
            (Ok(real), Ok(around)) if around.starts_with(&real) && self.visited.contains(&real) => {
                let what =
                    "is a link to a folder that it lies in; the pictures there are taken once";
                self.report(link.clone(), Error::file(link, what));
            }
            _ => self.folder(link),
        }
    }

    fn entry(&mut self, entry: &DirEntry) {
        let path = entry.path();
        let mut is_link = false;
        let kind = entry.file_type().and_then(|kind| {
            is_link = kind.is_symlink();
            match is_link {
                true => Ok(fs::metadata(&path)?.file_type()),
                false => Ok(kind),
            }
        });
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            return self.hidden(&path, kind);
        }
        match kind {
            Err(e) => self.unknown(path, is_link, &e),
            Ok(kind) if kind.is_dir() => {
                self.has_subfolders = true;
                match (self.recursive, is_link) {
                    (false, _) => {}
                    (true, false) => self.folders.push(path),
                    (true, true) => _ = self.links.insert(path),
                }
            }
            Ok(kind) if kind.is_file() => match kinds::named(&path) {
                Named::Image => self.found.push((path, Ok(()))),
                Named::Foreign(kind) => self.passed_over.add(kind),
                Named::Nothing if kinds::begins_as_picture(&path) => {
                    self.passed_over.add("without a picture's name");
                }
                Named::Nothing | Named::Other => {}
            },
            // Opening a pipe waits for a writer, perhaps for ever.
            Ok(kind) if kinds::is_picture_name(&path) => {
                let what = format_args!("is {}, not a file, and was not opened", special(kind));
                self.report(path.clone(), Error::file(path, what));
            }
            Ok(_) => {}
        }
    }

    /// Counts a hidden file and leaves it out: systems create hidden files that only look like images.
    fn hidden(&mut self, path: &Path, kind: io::Result<FileType>) {
        // A companion file, in which macOS keeps a file's metadata beside it.
        let is_companion = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"._"));
        let is_file = kind.is_ok_and(|kind| kind.is_file());
        if is_file && !is_companion && kinds::is_picture_name(path) {
            self.passed_over.add("hidden");
        }
    }

    /// Handles an entry whose type is unknown, most often a link that leads nowhere. It is reported if it should be an
    /// image, or if folders are wanted and it may be one; a link to itself is always reported.
    fn unknown(&mut self, path: PathBuf, is_link: bool, e: &io::Error) {
        let may_be_folder = self.recursive && kinds::named(&path) == Named::Nothing;
        if !may_be_folder && !is_link_loop(e) && !kinds::is_picture_name(&path) {
            return;
        }
        let error = match (is_link, e.kind()) {
            _ if is_link_loop(e) => Error::file(&path, "is a link that leads back to itself"),
            (true, io::ErrorKind::NotFound) => {
                Error::file(&path, "is a link to something that does not exist")
            }
            _ => Error::unread(&path, e),
        };
        self.report(path, error);
    }
}

/// Returns the usual name for an entry that is neither a file nor a folder.
#[cfg(unix)]
fn special(kind: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(not(unix))]
fn special(_: FileType) -> &'static str {
    "a device"
}
