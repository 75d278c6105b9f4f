//! The bytes of a file, read or mapped into memory.
//!
//! A small file is read. A large one is mapped: memory holds those parts of it that are looked at, and the system may take
//! them back. But where another program shortens a mapped file, the system ends this program with a signal; what was
//! read stays as it was.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use crate::error::{Error, Result};

/// Bytes of the largest file that is read rather than mapped.
const READ: u64 = 64 << 20;

/// The bytes of a file. Copies share them.
#[derive(Clone)]
pub(crate) enum Bytes {
    Mapped(Arc<Mmap>),
    Static(&'static [u8]),
    Owned(Arc<Vec<u8>>),
}

impl Bytes {
    /// Those of the file at `path`, which `what` says it should be.
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
        if meta.len() <= READ {
            let mut bytes = Vec::with_capacity(meta.len() as usize + 1);
            // Where the file grows meanwhile, the one byte more makes it none that is whole.
            let mut limited = file.take(meta.len() + 1);
            limited.read_to_end(&mut bytes).map_err(fail)?;
            return Ok(bytes.into());
        }
        // SAFETY: the mapping is only read. Should another program shorten the file meanwhile, the system ends
        // this one with a signal, as with any mapped file; nothing is written through stale pages. Files of
        // ours are replaced by renaming, which leaves the mapped one whole.
        let map = unsafe { Mmap::map(&file) }.map_err(fail)?;
        Ok(Bytes::Mapped(Arc::new(map)))
    }

    /// Takes mapped pages out of this process's memory; they come back, unchanged, when they are read again. Does
    /// nothing where the bytes are not mapped or the system has no such call.
    pub(crate) fn release(&self) {
        #[cfg(target_os = "linux")]
        if let Bytes::Mapped(map) = self {
            // SAFETY: pages of a file that is mapped to be read alone are read from the file again, with the same
            // contents; whoever reads them meanwhile waits for that at most.
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
