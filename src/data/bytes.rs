//! The bytes of a file, read or mapped into memory.
//!
//! A small file is read. A large file is mapped: memory holds only the parts that are in use, and the system may drop
//! them again. If another program shortens a mapped file, the system ends this program with a signal. Files that were
//! read are not affected.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use crate::error::{Error, Result};

/// Size in bytes of the largest file that is read rather than mapped.
const MAX_READ: u64 = 64 << 20;

/// The bytes of a file. Copies share them.
#[derive(Clone)]
pub(crate) enum Bytes {
    Mapped(Arc<Mmap>),
    Static(&'static [u8]),
    Owned(Arc<Vec<u8>>),
}

impl Bytes {
    /// Opens the file at `path`; `what` says in error messages what the file should be.
    pub(crate) fn open(path: &Path, what: &str) -> Result<Self> {
        let fail = |e: std::io::Error| Error::unread(path, &e);
        let file = File::open(path).map_err(fail)?;
        let meta = file.metadata().map_err(fail)?;
        if meta.is_dir() {
            return Err(Error::file(path, format_args!("is a folder, not {what}")));
        }
        if meta.len() == 0 {
            return Err(Error::file(path, format_args!("is empty, not {what}")));
        }
        if meta.len() <= MAX_READ {
            let mut bytes = Vec::with_capacity(meta.len() as usize + 1);
            // If the file grows meanwhile, the additional byte makes the contents invalid.
            let mut limited = file.take(meta.len() + 1);
            limited.read_to_end(&mut bytes).map_err(fail)?;
            return Ok(bytes.into());
        }
        // SAFETY: the mapping is only read, so nothing is written through stale pages. If another program shortens the
        // file meanwhile, the system ends this one with a signal, as with any mapped file. Our own files are replaced
        // by renaming, which leaves the mapped file whole.
        let map = unsafe { Mmap::map(&file) }.map_err(fail)?;
        Ok(Bytes::Mapped(Arc::new(map)))
    }

    /// Removes mapped pages from this process's memory; they are loaded again, unchanged, at the next access. Does
    /// nothing if the bytes are not mapped or the system has no such call.
    pub(crate) fn release(&self) {
        #[cfg(target_os = "linux")]
        if let Bytes::Mapped(map) = self {
            // SAFETY: pages of a read-only file mapping are loaded from the file again, with the same contents. A
            // concurrent reader at most waits for that.
            let _ = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
        }
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Static(bytes) => bytes,
            Bytes::Owned(bytes) => bytes,
        }
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::Owned(Arc::new(bytes))
    }
}
