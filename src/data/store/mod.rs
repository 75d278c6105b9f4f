//! Writes files: whole or not at all, and replaces nothing but plain files.
//!
//! Every output is written in the same way. The bytes are written to a file beside the output,
//! `.glimpse-PID-xxxxxx.partial`, and synced. That file is then renamed to the output's name in one atomic step, and
//! the folder is synced. Readers of the output see the old file or the new one, also after a power failure.
//!
//! - If the output's name is a symbolic link, the file that it leads to is replaced, and the link stays.
//! - Devices, pipes, sockets and folders are refused: renaming would replace `/dev/null` itself.
//! - A file that is replaced keeps its permissions, and its owner where the system allows that.
//! - A process that was killed leaves its partial file behind; the next process that writes to the folder removes it
//!   (`leftover`).
//!
//! A [`Lock`] keeps two runs from writing the same output.

mod leftover;
mod lock;
#[cfg(all(test, unix))]
mod tests;

use std::fs::{self, File, FileType, Metadata};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

pub use lock::Lock;
#[cfg(feature = "fetch")]
pub(crate) use lock::is_at;

use crate::error::{Error, Result, reason};

/// The number of links that are followed before they count as a cycle; the limit of Linux.
const MOST_LINKS: usize = 40;

/// Returns the file that is written when `path` is: the target of a symbolic link, or `path` itself. It need not exist.
///
/// # Errors
/// If that is not a plain file, or the link leads back to itself.
pub fn resolve(path: &Path) -> Result<PathBuf> {
    let mut real = path.to_path_buf();
    for _ in 0..=MOST_LINKS {
        match fs::symlink_metadata(&real) {
            // For example `/dev/stdout`: it leads to a file that a process has open, whose name must not be replaced.
            Ok(meta) if meta.is_symlink() && is_of_processes(folder_of(&real)) => {
                return Err(refused(path, "something that is open already"));
            }
            Ok(meta) if meta.is_symlink() => {
                let to = fs::read_link(&real).map_err(|e| unwritten(path, &e))?;
                real = folder_of(&real).join(to);
            }
            Ok(meta) if meta.is_dir() => {
                return Err(Error::file(
                    path,
                    "is a folder; give the name of a file to write",
                ));
            }
            Ok(meta) if !meta.is_file() => return Err(refused(path, kind(meta.file_type()))),
            Ok(_) => return Ok(real),
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(real),
            Err(e) => return Err(unwritten(path, &e)),
        }
    }
    Err(Error::file(
        path,
        "cannot be written: a link in its path leads back to itself",
    ))
}

/// Whether a folder is one in which the system shows its processes.
fn is_of_processes(folder: &Path) -> bool {
    folder
        .canonicalize()
        .is_ok_and(|folder| folder.starts_with("/proc"))
}

fn refused(path: &Path, what: &str) -> Error {
    Error::file(
        path,
        format_args!("is {what}, and only files are written; give the name of a file"),
    )
}

#[cfg(unix)]
fn kind(found: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    match found {
        _ if found.is_fifo() => "a pipe",
        _ if found.is_socket() => "a socket",
        _ => "a device",
    }
}

#[cfg(not(unix))]
fn kind(_: FileType) -> &'static str {
    "a device"
}

/// Refuses an output that could not be written, so that the error comes before hours of work and not after. The check
/// creates a file beside the output and removes it again, because nothing else shows whether writing works.
///
/// # Errors
/// If `path` is not a plain file, its folder does not exist, or no file can be written there.
pub fn check(path: &Path) -> Result<()> {
    let real = resolve(path)?;
    let folder = folder_of(&real);
    if !folder.is_dir() {
        return Err(Error::file(
            path,
            "its folder does not exist; make it first",
        ));
    }
    let tried = partial(folder).and_then(|mut file| {
        // On a full disk a file can be created, but not filled.
        file.write_all(&[0; 512])?;
        file.flush()
    });
    tried.map_err(|e| unwritten(path, &e))
}

/// Replaces the file at `path` by one with these bytes, or leaves it unchanged.
///
/// # Errors
/// If `path` is not a plain file, or it cannot be written (no such folder, no permission, no space). The previous file
/// is then still there.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let real = resolve(path)?;
    replace(&real, bytes).map_err(|e| unwritten(path, &e))
}

fn replace(real: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = partial(folder_of(real))?;
    file.write_all(bytes)?;
    if let Ok(before) = fs::metadata(real) {
        keep_access(file.as_file(), &before)?;
    }
    file.as_file().sync_all()?;
    // Keeps the file open, and with it locked, until it has its name.
    let (_file, partial) = file.keep().map_err(|e| e.error)?;
    rename(&partial, real).inspect_err(|_| drop(fs::remove_file(&partial)))
}

/// Renames the file `from`, which is whole and synced, to `to`, and replaces the file of that name.
///
/// # Errors
/// If the system refuses; both files are then unchanged.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_folder(to);
    Ok(())
}

/// Creates a file in `folder` that is removed again unless it is renamed.
fn partial(folder: &Path) -> io::Result<NamedTempFile> {
    leftover::remove(folder);
    let prefix = leftover::prefix(std::process::id());
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(leftover::SUFFIX);
    // The usual permissions of a new file; those of a temporary file would keep other users from reading a model.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let file = builder.tempfile_in(folder)?;
    // The lock shows processes that cannot see this one, on another machine or in another container, that it is alive.
    let _ = file.as_file().try_lock();
    Ok(file)
}

/// Gives a file the permissions of another, and its owner where that is allowed.
fn keep_access(file: &File, before: &Metadata) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, fchown};
        let new = file.metadata()?;
        if (new.uid(), new.gid()) != (before.uid(), before.gid()) {
            // Only an administrator may change the owner; members of a group may change the group.
            let _ = fchown(file, Some(before.uid()), Some(before.gid()))
                .or_else(|_| fchown(file, None, Some(before.gid())));
        }
    }
    file.set_permissions(before.permissions())
}

/// Syncs the folder, so that the new name survives a power failure. Where a folder cannot be synced, only that
/// guarantee is lost.
fn sync_folder(of: &Path) {
    #[cfg(unix)]
    if let Ok(folder) = File::open(folder_of(of)) {
        let _ = folder.sync_all();
    }
    #[cfg(not(unix))]
    let _ = of;
}

/// Returns the folder of the file at `path`.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn unwritten(path: &Path, why: &io::Error) -> Error {
    Error::file(
        path,
        format_args!(
            "cannot be written: {}; what was there before is untouched",
            reason(why)
        ),
    )
}
