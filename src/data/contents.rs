//! The contents of files, told apart by their SHA-256, and a small file that remembers them.
//!
//! A data set is known by what its pictures hold, not by their names. To read thousands of pictures takes a while, so
//! that their digests are kept in a text file. A file whose size and times are the ones remembered is not read again, as
//! version control does it; where the system tells them, the times are that of the last change of its contents and that of
//! the last change of anything about it, which no program can set back, both in nanoseconds.
//!
//! The first line is `glimpse-contents 1 CHECKSUM`, with the CRC-32 of all that follows. Then each line is a file: its
//! SHA-256, its size, the two times, and its path as a JSON string. A file of this kind that is damaged, or was made by
//! another version, is as good as none, and it is made anew.

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

/// A file that was changed so shortly before it was read may be changed again without another time: clocks of file
/// systems are that coarse. It is not remembered.
const COARSEST_CLOCK: Duration = Duration::from_secs(2);

/// A SHA-256.
pub type Sum = [u8; 32];

/// Digests of files, as far as they are remembered.
#[derive(Debug, Default)]
pub struct Contents {
    known: HashMap<PathBuf, Known>,
    /// Files that had to be read.
    read: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    stat: Stat,
    sum: Sum,
}

/// What the system says of a file without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    size: u64,
    /// Nanoseconds since 1970.
    modified: i128,
    /// When anything about the file was last changed, where the system tells; otherwise 0.
    changed: i128,
}

impl Stat {
    /// `None` where the system does not tell when the file was modified.
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

    /// Whether the file was left alone long enough before `now`.
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
    /// What the file at `path` remembers: nothing where there is none, or it is damaged.
    pub fn open(path: &Path) -> Self {
        let known = fs::read_to_string(path).ok();
        Contents {
            known: known.and_then(|text| parse(&text)).unwrap_or_default(),
            read: 0,
        }
    }

    /// Whether the file at `path` is of this kind, be it whole or damaged.
    pub fn is_at(path: &Path) -> bool {
        let mut start = [0; MAGIC.len()];
        let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut start));
        read.is_ok() && start == *MAGIC.as_bytes()
    }

    /// The digests of these files, in their order. Those that are not remembered are read, by all threads together.
    ///
    /// # Errors
    /// Where one cannot be read.
    pub fn sums(&mut self, paths: &[&Path]) -> Result<Vec<Sum>> {
        let known = &self.known;
        let found = threads::map(paths.len(), |i| sum(paths[i], known));
        let mut sums = Vec::with_capacity(paths.len());
        for found in found {
            let found = found?;
            sums.push(found.sum);
            self.read += usize::from(found.was_read);
            if let (Some((path, stat)), true) = (found.at, found.was_read) {
                self.known.insert(
                    path,
                    Known {
                        stat,
                        sum: found.sum,
                    },
                );
            }
        }
        Ok(sums)
    }

    /// How many files had to be read.
    pub fn read(&self) -> usize {
        self.read
    }

    /// Remembers what was read in the file at `path`, where anything was that may be remembered.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        if self.read == 0 || self.known.is_empty() {
            return Ok(());
        }
        let mut lines: Vec<String> = self.known.iter().filter_map(line).collect();
        lines.sort_unstable();
        let lines = lines.concat();
        let sum = checksums::of(lines.as_bytes());
        write_atomically(path, format!("{MAGIC}{sum:08x}\n{lines}").as_bytes())
    }
}

/// The line of a file; `None` for a path that is no text.
fn line((path, known): (&PathBuf, &Known)) -> Option<String> {
    let path = serde_json::to_string(path.to_str()?).ok()?;
    let Stat {
        size,
        modified,
        changed,
    } = known.stat;
    Some(format!(
        "{} {size} {modified} {changed} {path}\n",
        hex(&known.sum)
    ))
}

fn parse(text: &str) -> Option<HashMap<PathBuf, Known>> {
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
        Some((path.into(), Known { stat, sum }))
    };
    lines.lines().map(entry).collect()
}

/// The digest that 64 hexadecimal digits stand for.
fn from_hex(text: &str) -> Option<Sum> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Vec<u8> = pairs.iter().map(byte).collect::<Option<_>>()?;
    rest.is_empty().then(|| bytes.try_into().ok())?
}

struct Found {
    sum: Sum,
    was_read: bool,
    /// Where it may be remembered.
    at: Option<(PathBuf, Stat)>,
}

fn sum(path: &Path, known: &HashMap<PathBuf, Known>) -> Result<Found> {
    let unread = |e: std::io::Error| Error::unread(path, &e);
    // Before the contents are read, so that a change meanwhile is one of a file that was remembered as it was before.
    let stat = Stat::of(&fs::metadata(path).map_err(unread)?);
    let full = std::path::absolute(path).map_err(unread)?;
    if let (Some(stat), Some(known)) = (stat, known.get(&full))
        && known.stat == stat
    {
        return Ok(Found {
            sum: known.sum,
            was_read: false,
            at: None,
        });
    }
    let sum = Sha256::digest(fs::read(path).map_err(unread)?).into();
    let now = SystemTime::now();
    Ok(Found {
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

    /// A file that was written long ago, as far as its own time tells.
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
        // Both times must lie a while back, and no program can set the second one.
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
        // Another content of the same size, and the old time put back.
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
            // It was changed just now, and is not remembered yet.
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
        let known = Known { stat, sum: [9; 32] };
        let contents = Contents {
            known: HashMap::from([("/a \"b\"\nc".into(), known)]),
            read: 1,
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memory");
        contents.save(&path).unwrap();
        assert_eq!(Contents::open(&path).known, contents.known);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                fs::write(&path, &bytes).unwrap();
                assert!(Contents::open(&path).known.is_empty(), "byte {at}");
            }
            fs::write(&path, &whole[..at]).unwrap();
            assert!(Contents::open(&path).known.is_empty(), "cut at {at}");
        }
    }
}
