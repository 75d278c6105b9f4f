//! The cache file while it is being computed.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use safetensors::tensor::Metadata;

use super::layout::{self, KEY, Layout, checksum};
use super::source::Source;
use crate::data::contents::Sum;
use crate::data::store;
use crate::data::weights::checksums;
use crate::error::{Error, Result, reason};

/// Maximum length of the header in the safetensors format.
const LONGEST_HEADER: u64 = 100_000_000;

/// Bytes read at a time to compute checksums.
const CHUNK_BYTES: usize = 16 << 20;

/// A cache in which rows may still be missing.
pub(super) struct Partial {
    file: File,
    path: PathBuf,
    pub(super) layout: Layout,
    /// Offset of the tensors in the file.
    data: u64,
}

/// State of the partial file.
pub(super) enum Start {
    /// A usable file, and the number of pictures done.
    At(Partial, usize),
    /// An empty file, or one with no complete group of pictures.
    Nothing(File),
    /// A file that cannot be used, and why.
    Useless(File, String),
}

/// Opens the file at `path`, creating it if necessary, with an exclusive lock.
///
/// # Errors
/// Fails if it cannot be written, or another process has locked it.
pub(super) fn lock(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = options.open(path).map_err(|e| cannot_be_written(path, e))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(Error::file(
            path,
            "is being computed by another process; wait for it, or give this run another output",
        )),
        // On systems without file locks the file is used unlocked.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}

fn cannot_be_written(path: &Path, e: io::Error) -> Error {
    let what = format_args!(
        "cannot be written: {}; what was computed is kept, start again to go on",
        reason(&e)
    );
    Error::file(path, what).because(e)
}

/// Returns [`Layout::header`]; errors name the file at `path`.
fn header_of(path: &Path, layout: &Layout, source: &Source, sums: [u32; 5]) -> Result<Vec<u8>> {
    let header = layout.header(source, sums);
    header.map_err(|why| Error::file(path, format_args!("cannot be written: {why}")))
}

impl Start {
    /// Looks for the work of an earlier run in `file`. Only complete groups of `group` pictures count.
    ///
    /// # Errors
    /// Fails if a picture cannot be read.
    pub(super) fn find(
        mut file: File,
        path: &Path,
        source: &Source,
        digests: &[Sum],
        group: usize,
    ) -> Result<Self> {
        if file.metadata().is_ok_and(|meta| meta.len() == 0) {
            return Ok(Start::Nothing(file));
        }
        let found = match header(&mut file) {
            Some(header) => header,
            None => return Ok(Start::Useless(file, "has a broken header".into())),
        };
        let (data, header) = found;
        let description = header.metadata().as_ref().and_then(|m| m.get(KEY));
        let info = |name: &str| header.info(name).map(|i| (i.dtype, i.shape.clone()));
        let layout = match layout::sizes(description.map(String::as_str), info, source) {
            Ok(layout) => layout,
            Err(why) => return Ok(Start::Useless(file, why)),
        };
        // The final header, with checksums, must have the same length, because the rows stay where they are.
        if header_of(path, &layout, source, [0; 5])?.len() as u64 != data {
            return Ok(Start::Useless(file, "is of an older version".into()));
        }
        let mut tables = vec![0; layout.start("features")];
        if read_at(&mut file, data, &mut tables).is_err() {
            return Ok(Start::Useless(file, "is not whole".into()));
        }
        let table = |name: &str, len: usize| &tables[layout.start(name)..][..len];
        let n = layout.pictures;
        if let Some(why) = layout::changed(source, table("digests", 32 * n), digests) {
            return Ok(Start::Useless(file, why));
        }
        let rows = n * layout.views;
        let checks = table("checks", 8 * rows).as_chunks::<8>().0;
        let start = data + layout.start("features") as u64;
        let done = whole_rows(&mut file, start, layout.row_bytes(), checks) / layout.views;
        let done = if done == n { n } else { done - done % group };
        if done == 0 {
            return Ok(Start::Nothing(file));
        }
        let path = path.to_path_buf();
        let mut partial = Partial {
            file,
            path,
            layout,
            data,
        };
        // The tables of sizes and times are written again: pictures may have new times with the same contents, and the
        // tables in the file may be damaged.
        let stats = partial.layout.stats(source)?;
        partial.write_at(data, &stats)?;
        Ok(Start::At(partial, done))
    }
}

/// Reads the header; returns the offset of the tensors, and the header.
fn header(file: &mut File) -> Option<(u64, Metadata)> {
    let mut len = [0; 8];
    read_at(file, 0, &mut len).ok()?;
    let len = u64::from_le_bytes(len);
    let size = file.metadata().ok()?.len();
    if len > LONGEST_HEADER || len > size {
        return None;
    }
    let mut text = vec![0; len as usize];
    file.read_exact(&mut text).ok()?;
    Some((8 + len, serde_json::from_slice(&text).ok()?))
}

/// Counts the rows from the first on that are in the file and match their checksums.
fn whole_rows(file: &mut File, start: u64, size: usize, checks: &[[u8; 8]]) -> usize {
    if file.seek(SeekFrom::Start(start)).is_err() {
        return 0;
    }
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut row = vec![0; size];
    let mut fits = |(number, check): (usize, &[u8; 8])| {
        reader.read_exact(&mut row).is_ok() && checksum(number, &row).to_le_bytes() == *check
    };
    let numbered = checks.iter().enumerate();
    numbered.take_while(|&row| fits(row)).count()
}

fn read_at(file: &mut File, at: u64, to: &mut [u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(to)
}

impl Partial {
    /// Starts a new cache in `file`, discarding its contents.
    ///
    /// # Errors
    /// Fails if a picture cannot be read or the file cannot be written.
    pub(super) fn begin(
        file: File,
        path: &Path,
        source: &Source,
        digests: &[Sum],
        shape: Vec<usize>,
    ) -> Result<Self> {
        let layout = Layout {
            pictures: source.pictures.len(),
            views: source.views.len(),
            shape,
        };
        // The checksums are written when all rows are there.
        let mut beginning = header_of(path, &layout, source, [0; 5])?;
        let data = beginning.len() as u64;
        beginning.extend(layout.tables(source, digests)?);
        let path = path.to_path_buf();
        let mut partial = Partial {
            file,
            path,
            layout,
            data,
        };
        let emptied = partial.file.set_len(0);
        emptied.map_err(|e| cannot_be_written(&partial.path, e))?;
        partial.write_at(0, &beginning)?;
        Ok(partial)
    }

    /// Writes complete rows, starting at row number `first`.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub(super) fn append(&mut self, first: usize, rows: &[u8]) -> Result<()> {
        let size = self.layout.row_bytes();
        let numbered = (first..).zip(rows.chunks_exact(size));
        let checks = numbered.flat_map(|(number, row)| checksum(number, row).to_le_bytes());
        let checks: Vec<u8> = checks.collect();
        let [features, table] = ["features", "checks"].map(|name| self.layout.start(name));
        self.write_at(self.data + (features + first * size) as u64, rows)?;
        self.write_at(self.data + (table + 8 * first) as u64, &checks)
    }

    /// Writes the checksums, syncs the file and renames it to `path`.
    ///
    /// # Errors
    /// Fails if that is not possible; the file then keeps its old name.
    pub(super) fn finish(mut self, source: &Source, path: &Path) -> Result<()> {
        let layout = &self.layout;
        let rows = layout.pictures * layout.views;
        let size = self.data + (layout.start("features") + rows * layout.row_bytes()) as u64;
        let cut = self.file.set_len(size);
        cut.map_err(|e| cannot_be_written(&self.path, e))?;
        let sums = self.sums()?;
        let header = header_of(&self.path, &self.layout, source, sums)?;
        self.write_at(0, &header)?;
        let stored = self
            .file
            .sync_all()
            .and_then(|()| store::rename(&self.path, path));
        stored.map_err(|e| cannot_be_written(&self.path, e))
    }

    /// Computes the checksums of the tensors in the file.
    fn sums(&mut self) -> Result<[u32; 5]> {
        let failed = |e| cannot_be_written(&self.path, e);
        self.file.seek(SeekFrom::Start(self.data)).map_err(failed)?;
        let mut sums = [0; 5];
        let mut piece = Vec::new();
        for (sum, mut left) in sums.iter_mut().zip(self.layout.lens()) {
            let mut parts = Vec::new();
            while left > 0 {
                piece.resize(left.min(CHUNK_BYTES), 0);
                self.file.read_exact(&mut piece).map_err(failed)?;
                let [part] = checksums::of_each(&[&piece], usize::MAX, &|| {})[..] else {
                    break;
                };
                parts.push((part, piece.len()));
                left -= piece.len();
            }
            *sum = checksums::join(parts);
        }
        Ok(sums)
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        let written = self.file.seek(SeekFrom::Start(at));
        written
            .and_then(|_| self.file.write_all(bytes))
            .map_err(|e| cannot_be_written(&self.path, e))
    }
}
