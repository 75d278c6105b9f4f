//! One writer for an output: a lock on a file beside it, held as long as the process lives.
//!
//! The output itself cannot be locked, because each write replaces it by another file. The system releases the lock
//! when its process ends, however it ends. A lock file that a killed process left behind therefore blocks nobody; the
//! next process takes it over.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The lock on an output, with its lock file; dropping it removes both.
pub struct Lock {
    /// `None` where the system has no locks, as on some network drives. There, users have to avoid two writers
    /// themselves.
    _file: Option<File>,
    path: PathBuf,
}

impl Lock {
    /// Locks `out` by the lock file at `path`, which need not exist.
    ///
    /// # Errors
    /// If another process holds the lock, or the lock file cannot be created.
    pub fn take(path: &Path, out: &Path) -> Result<Self> {
        let fail = |e: io::Error| Error::unwritten(path, &e);
        loop {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            let mut file = options.open(path).map_err(fail)?;
            let taken = file.try_lock();
            if let Err(TryLockError::WouldBlock) = taken {
                return Err(in_use(out, &mut file));
            }
            // Between open and lock, another process may have ended and removed the lock file.
            if !is_at(&file, path) {
                continue;
            }
            // The file names its process, for the error message of another process and for curious users.
            let _ = file.set_len(0);
            let _ = writeln!(file, "process {}", std::process::id());
            return Ok(Lock {
                _file: taken.is_ok().then_some(file),
                path: path.to_path_buf(),
            });
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed before the lock is released, so that nobody locks a file that is about to lose its name.
        let _ = fs::remove_file(&self.path);
    }
}

fn in_use(out: &Path, file: &mut File) -> Error {
    let mut by = String::new();
    let _ = file.take(100).read_to_string(&mut by);
    let number = by.strip_prefix("process ").map(str::trim);
    let by = match number.and_then(|number| number.parse::<u32>().ok()) {
        Some(number) => format!("another run, process {number},"),
        None => "another run".into(),
    };
    let what = format_args!("{by} is writing it; wait for that one, or give this one another name");
    Error::file(out, what)
}

/// Whether `file` is still the file that `path` names.
#[cfg(unix)]
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let same = |a: &fs::Metadata, b: &fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    matches!((file.metadata(), fs::metadata(path)), (Ok(a), Ok(b)) if same(&a, &b))
}

/// Other systems cannot tell two files of one name apart; the moment in which that matters is short.
#[cfg(not(unix))]
pub(crate) fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}
