//! One writer for an output: a file beside it that a run locks as long as it lives.
//!
//! The output itself cannot be locked: it is replaced by another file each time it is written. The system gives the
//! lock back when its process ends, however it ends, so a lock file that a killed run left behind keeps nobody out; the
//! next run takes it over.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The lock on an output, and the file that it is on; both go when this does.
pub struct Lock {
    /// `None` where the system knows no locks, as on some network drives; there, people have to see to it themselves.
    _file: Option<File>,
    path: PathBuf,
}

impl Lock {
    /// Locks `out` by the file at `path`, which need not exist.
    ///
    /// # Errors
    /// Where another process has it, or the file cannot be made.
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
            // Another process may have ended, and taken the name away, between the opening and the locking.
            if !is_at(&file, path) {
                continue;
            }
            // For whoever is kept out, and for people who wonder what the file is.
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
        // Before the lock itself goes, so that nobody locks a file that is about to lose its name.
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

/// Whether `file` is still what `path` names.
#[cfg(unix)]
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let same = |a: &fs::Metadata, b: &fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    matches!((file.metadata(), fs::metadata(path)), (Ok(a), Ok(b)) if same(&a, &b))
}

/// Elsewhere nothing tells two files of the same name apart; the moment in which it matters is short.
#[cfg(not(unix))]
pub(crate) fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}
