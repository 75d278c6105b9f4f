//! Identifies files by the SHA-256 of their contents, and caches the digests in a small file.
//!
//! A data set is identified by the contents of its pictures, not by their names. Reading thousands of pictures takes a
//! while, so their digests are kept in a text file. A file is not read again if its size and times are still those that
//! were recorded; version control systems do the same. The times, in nanoseconds, are that of the last change of the
//! contents and, where the system provides it, that of the last change of any metadata, which no program can set back.
//!
//! The first line is `glimpse-contents 1 CHECKSUM`, with the CRC-32 of everything after it. Each further line describes
//! a file: its SHA-256, its size, the two times, and its path as a JSON string. A cache file that is damaged, or that
//! another version wrote, is ignored and written anew.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use super::hex;
use super::store::write_atomically;
use super::weights::checksums;
use crate::cpu::threads;
use crate::error::{Error, Result};

/// The beginning of the first line.
const MAGIC: &str = "glimpse-contents 1 ";

/// A file that was modified less than this before it was read is not recorded. The clocks of file systems are coarse,
/// so it could be modified again without a change of its time.
const COARSEST_CLOCK: Duration = Duration::from_secs(2);

/// A SHA-256 digest.
pub type Sum = [u8; 32];

/// The digests of files, as far as they are recorded.
#[derive(Debug, Default)]
pub struct Contents {
    records: HashMap<PathBuf, Record>,
    /// The number of files that had to be read.
    read: usize,
}

/// The digest of a file, with the metadata for which it is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    stat: Stat,
    sum: Sum,
}

/// The metadata of a file that show whether it has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    size: u64,
    /// Time of the last change of the contents, in nanoseconds since 1970.
    modified: i128,
    /// Time of the last change of any metadata, in the same unit; 0 where the system does not provide it.
    changed: i128,
}

impl Stat {
    /// Returns `None` if the system does not provide the time of the last change.
    fn of(meta: &Metadata) -> Option<Self> {
        let modified = nanoseconds(meta.modified().ok()?)?;
        #[cfg(unix)]
        let changed = {
            use std::os::unix::fs::MetadataExt;
            i128::from(meta.ctime()) * 1_000_000_000 + i128::from(meta.ctime_nsec())
        };
        #[cfg(not(unix))]
        let changed = 0;
        Some(Stat {
            size: meta.len(),
            modified,
            changed,
        })
    }

    /// Whether the file had not been changed for long enough at `now`.
    fn is_settled(&self, now: SystemTime) -> bool {
        let before = now.checked_sub(COARSEST_CLOCK).and_then(nanoseconds);
        before.is_some_and(|before| self.modified.max(self.changed) < before)
    }
}

fn nanoseconds(time: SystemTime) -> Option<i128> {
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    i128::try_from(since.as_nanos()).ok()
}

impl Contents {
    /// Reads the cache file at `path`; the result is empty if there is none or it is damaged.
    pub fn open(path: &Path) -> Self {
        let text = fs::read_to_string(path).ok();
        Contents {
            records: text.and_then(|text| parse(&text)).unwrap_or_default(),
            read: 0,
        }
    }

    /// Whether the file at `path` is a cache file, whole or damaged.
    pub fn is_at(path: &Path) -> bool {
        let mut start = [0; MAGIC.len()];
        let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut start));
        read.is_ok() && start == *MAGIC.as_bytes()
    }

    /// Returns the digests of these files, in their order. Files without a valid record are read, by all threads
    /// together.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn sums(&mut self, paths: &[&Path]) -> Result<Vec<Sum>> {
        let records = &self.records;
        let found = threads::map(paths.len(), |i| sum(paths[i], records));
        let mut sums = Vec::with_capacity(paths.len());
        for found in found {
            let found = found?;
            sums.push(found.sum);
            self.read += usize::from(found.was_read);
            if let (Some((path, stat)), true) = (found.at, found.was_read) {
                self.records.insert(
                    path,
                    Record {
                        stat,
                        sum: found.sum,
                    },
                );
            }
        }
        Ok(sums)
    }

    /// Returns the number of files that had to be read.
    pub fn read(&self) -> usize {
        self.read
    }

    /// Writes the records to the cache file at `path`, if files were read and may be recorded.
    ///
    /// # Errors
    /// If the cache file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        if self.read == 0 || self.records.is_empty() {
            return Ok(());
        }
        let mut lines: Vec<String> = self.records.iter().filter_map(line).collect();
        lines.sort_unstable();
        let lines = lines.concat();
        let sum = checksums::of(lines.as_bytes());
        write_atomically(path, format!("{MAGIC}{sum:08x}\n{lines}").as_bytes())
    }
}

/// Formats the record of a file; `None` for a path that is not UTF-8.
fn line((path, record): (&PathBuf, &Record)) -> Option<String> {
    let path = serde_json::to_string(path.to_str()?).ok()?;
    let Stat {
        size,
        modified,
        changed,
    } = record.stat;
    Some(format!(
        "{} {size} {modified} {changed} {path}\n",
        hex(&record.sum)
    ))
}

fn parse(text: &str) -> Option<HashMap<PathBuf, Record>> {
    let (first, lines) = text.strip_prefix(MAGIC)?.split_once('\n')?;
    if first != format!("{:08x}", checksums::of(lines.as_bytes())) {
        return None;
    }
    let entry = |line: &str| {
        let mut parts = line.splitn(5, ' ');
        let sum = from_hex(parts.next()?)?;
        let stat = Stat {
            size: parts.next()?.parse().ok()?,
            modified: parts.next()?.parse().ok()?,
            changed: parts.next()?.parse().ok()?,
        };
        let path: String = serde_json::from_str(parts.next()?).ok()?;
        Some((path.into(), Record { stat, sum }))
    };
    lines.lines().map(entry).collect()
}

/// Parses 64 hexadecimal digits.
fn from_hex(text: &str) -> Option<Sum> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Vec<u8> = pairs.iter().map(byte).collect::<Option<_>>()?;
    rest.is_empty().then(|| bytes.try_into().ok())?
}

/// The digest of one file, and whether and where it may be recorded.
struct FileSum {
    sum: Sum,
    was_read: bool,
    /// The key and metadata for the record; `None` if the file may not be recorded.
    at: Option<(PathBuf, Stat)>,
}

fn sum(path: &Path, records: &HashMap<PathBuf, Record>) -> Result<FileSum> {
    let unread = |e: std::io::Error| Error::unread(path, &e);
    // Read before the contents. If the file changes meanwhile, the record has the old metadata and is invalid.
    let stat = Stat::of(&fs::metadata(path).map_err(unread)?);
    let full = std::path::absolute(path).map_err(unread)?;
    if let (Some(stat), Some(record)) = (stat, records.get(&full))
        && record.stat == stat
    {
        return Ok(FileSum {
            sum: record.sum,
            was_read: false,
            at: None,
        });
    }
    let sum = Sha256::digest(fs::read(path).map_err(unread)?).into();
    let now = SystemTime::now();
    Ok(FileSum {
        sum,
        was_read: true,
        at: stat
            .filter(|stat| stat.is_settled(now))
            .map(|stat| (full, stat)),
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    /// Writes a file whose modification time lies `age` seconds back.
    fn write(path: &Path, bytes: &[u8], age: u64) {
        fs::write(path, bytes).unwrap();
        let file = File::options().write(true).open(path).unwrap();
        let then = SystemTime::now() - Duration::from_secs(age);
        file.set_modified(then).unwrap();
    }

    #[test]
    fn files_are_read_again_when_anything_about_them_changed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let (a, b, memory) = (at("a"), at("b"), at("memory"));
        write(&a, b"one", 100);
        write(&b, b"two", 100);
        // Both times must lie some time back, and no program can set the second one.
        std::thread::sleep(COARSEST_CLOCK + Duration::from_millis(100));
        let sums = |read: usize| {
            let mut contents = Contents::open(&memory);
            let sums = contents.sums(&[&a, &b]).unwrap();
            assert_eq!(contents.read(), read);
            contents.save(&memory).unwrap();
            sums
        };
        let first = sums(2);
        assert_eq!(first[0], <Sum>::from(Sha256::digest(b"one")));
        assert_eq!(sums(0), first);
        // Other contents of the same size, with the old time restored.
        let time = fs::metadata(&a).unwrap().modified().unwrap();
        fs::write(&a, b"ONE").unwrap();
        File::options()
            .write(true)
            .open(&a)
            .unwrap()
            .set_modified(time)
            .unwrap();
        #[cfg(unix)]
        {
            let second = sums(1);
            assert!(second[0] != first[0] && second[1] == first[1]);
            // It was changed just now and is therefore not recorded yet.
            assert_eq!(sums(1), second);
        }
        fs::remove_file(&b).unwrap();
        let message = Contents::open(&memory).sums(&[&b]).unwrap_err();
        assert!(message.to_string().contains("does not exist"), "{message}");
    }

    #[test]
    fn a_damaged_memory_is_as_good_as_none() {
        let stat = Stat {
            size: 3,
            modified: 5,
            changed: 7,
        };
        let record = Record { stat, sum: [9; 32] };
        let contents = Contents {
            records: HashMap::from([("/a \"b\"\nc".into(), record)]),
            read: 1,
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memory");
        contents.save(&path).unwrap();
        assert_eq!(Contents::open(&path).records, contents.records);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                fs::write(&path, &bytes).unwrap();
                assert!(Contents::open(&path).records.is_empty(), "byte {at}");
            }
            fs::write(&path, &whole[..at]).unwrap();
            assert!(Contents::open(&path).records.is_empty(), "cut at {at}");
        }
    }
}
