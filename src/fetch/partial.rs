//! Partial downloads: the bytes that have arrived, and the version of the file that they belong to.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::sha256;
use crate::data::hex;
use crate::data::store::{self, is_at};
use crate::error::{Error, Result};

/// The properties that must be unchanged for a download to be resumed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    /// The SHA-256 of the address of the file. The address itself is not stored, because it may contain a password.
    pub address: String,
    /// The server's identifier of this version of the file.
    pub version: String,
    /// The size of the whole file in bytes, if the server gives it.
    pub total: Option<u64>,
}

/// Returns the digest by which an address is recognised.
pub(super) fn address_digest(url: &str) -> String {
    hex(&Sha256::digest(url))
}

/// `FILE.partial`, locked against other processes as long as this value lives. Beside it lies `FILE.partial.from` with
/// its [`Origin`].
pub(super) struct Partial {
    file: File,
    path: PathBuf,
    note: PathBuf,
    /// The number of bytes that have arrived.
    pub len: u64,
    /// Their origin; `None` if it is unknown, which makes them useless.
    pub origin: Option<Origin>,
}

impl Partial {
    /// Opens the partial file of `target`, which may be empty.
    ///
    /// # Errors
    /// If it cannot be opened, or another process is using it.
    pub fn open(target: &Path) -> Result<Self> {
        let path = beside(target, ".partial");
        let fail = |e: io::Error| Error::unwritten(&path, &e);
        let mut file = loop {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            let file = options.open(&path).map_err(fail)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::file(
                        &path,
                        "is being fetched by another process; wait for that one, or end it",
                    ));
                }
                // Some network drives have no locks. There, users have to avoid two downloads of one file themselves.
                Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => {}
                Err(TryLockError::Error(e)) => return Err(fail(e)),
            }
            // Between open and lock, another process may have finished and renamed the file.
            if is_at(&file, &path) {
                break file;
            }
        };
        let note = beside(target, ".partial.from");
        let origin: Option<Origin> = fs::read(&note)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if origin.is_none() {
            file.set_len(0).map_err(fail)?;
        }
        let len = file.seek(SeekFrom::End(0)).map_err(fail)?;
        Ok(Partial {
            file,
            path,
            note,
            len,
            origin,
        })
    }

    /// Whether a later call can resume this download.
    pub fn is_of_use(&self) -> bool {
        self.len > 0 && self.origin.is_some()
    }

    /// Starts again with an empty file of this origin.
    ///
    /// # Errors
    /// If the files cannot be written.
    pub fn begin(&mut self, origin: Option<Origin>) -> Result<()> {
        // In this order the note never describes bytes of another origin.
        self.origin = None;
        match fs::remove_file(&self.note) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                return Err(Error::unwritten(&self.note, &e));
            }
            _ => {}
        }
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        emptied.map_err(|e| Error::unwritten(&self.path, &e))?;
        self.len = 0;
        if let Some(origin) = &origin {
            let text = serde_json::to_vec(origin)
                .map_err(|e| Error::unwritten(&self.note, &io::Error::other(e)))?;
            store::write_atomically(&self.note, &text)?;
        }
        self.origin = origin;
        Ok(())
    }

    /// Appends bytes that have arrived.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .map_err(|e| Error::unwritten(&self.path, &e))?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Syncs the file to disk and returns its SHA-256.
    ///
    /// # Errors
    /// If it cannot be synced or read.
    pub fn digest(&mut self) -> Result<String> {
        let synced = self.file.sync_all().and_then(|()| self.file.rewind());
        let (_, digest) = synced
            .and_then(|()| sha256(&self.file))
            .map_err(|e| Error::unread(&self.path, &e))?;
        Ok(digest)
    }

    /// Renames the file to `target`.
    ///
    /// # Errors
    /// If it cannot be renamed.
    pub fn finish(self, target: &Path) -> Result<()> {
        store::rename(&self.path, target).map_err(|e| Error::unwritten(target, &e))?;
        let _ = fs::remove_file(&self.note);
        Ok(())
    }

    /// Deletes the partial file and its note.
    pub fn remove(self) {
        // The note goes first. If the file itself cannot be deleted, the next download starts again.
        let _ = fs::remove_file(&self.note);
        let _ = fs::remove_file(&self.path);
    }
}

fn beside(target: &Path, ending: &str) -> PathBuf {
    let mut name = target.as_os_str().to_os_string();
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Option<Origin> {
        Some(Origin {
            address: address_digest("http://localhost/a"),
            version: "\"1\"".into(),
            total: Some(5),
        })
    }

    #[test]
    fn a_partial_is_remembered_as_long_as_its_note_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a");
        let mut partial = Partial::open(&target).unwrap();
        assert!(!partial.is_of_use());
        partial.begin(origin()).unwrap();
        partial.append(b"abc").unwrap();
        drop(partial);

        let mut partial = Partial::open(&target).unwrap();
        assert_eq!((partial.len, partial.origin.clone()), (3, origin()));
        partial.append(b"de").unwrap();
        assert!(partial.digest().unwrap().starts_with("36bbe50e"));
        drop(partial);

        fs::write(dir.path().join("a.partial.from"), b"{\"address\"").unwrap();
        let mut partial = Partial::open(&target).unwrap();
        assert_eq!((partial.len, partial.is_of_use()), (0, false));
        partial.append(b"old").unwrap();
        partial.begin(None).unwrap();
        partial.append(b"new").unwrap();
        partial.finish(&target).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    }

    #[test]
    fn two_do_not_write_the_same_partial() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a");
        let first = Partial::open(&target).unwrap();
        let refused = Partial::open(&target).err().unwrap().to_string();
        assert!(refused.contains("another process"), "{refused}");
        first.remove();
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        Partial::open(&target).unwrap();
    }
}
