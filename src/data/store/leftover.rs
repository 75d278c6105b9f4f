//! Removes partial files of processes that were killed.
//!
//! A partial file has its process's number in its name, and the process holds a lock on it. It is removed only if no
//! process of that number runs on this machine and nobody holds the lock. The number alone is not enough: the process
//! may run on another machine that writes to the same network drive.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

const PREFIX: &str = ".glimpse-";
pub(super) const SUFFIX: &str = ".partial";

/// Returns the beginning of the names of a process's partial files.
pub(super) fn prefix(process: u32) -> String {
    format!("{PREFIX}{process}-")
}

/// Returns the number of the process whose partial file has this name.
fn process_of(name: &str) -> Option<u32> {
    let (process, random) = name
        .strip_prefix(PREFIX)?
        .strip_suffix(SUFFIX)?
        .split_once('-')?;
    let is_ours = !random.is_empty() && random.chars().all(|c| c.is_ascii_alphanumeric());
    let is_number = process.chars().all(|c| c.is_ascii_digit());
    process.parse().ok().filter(|_| is_ours && is_number)
}

/// Removes the partial files of killed processes from `folder`. Each folder is searched once; files of a process that
/// is killed later are removed by the next process.
pub(super) fn remove(folder: &Path) {
    static LOOKED_AT: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.into());
    let is_new = LOOKED_AT.lock().map(|mut all| all.insert(folder.clone()));
    if is_new.unwrap_or(false) {
        remove_now(&folder);
    }
}

pub(super) fn remove_now(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let process = entry.file_name().to_str().and_then(process_of);
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if process.is_some_and(|process| is_file && !is_alive(process)) && !is_held(&entry.path()) {
            // A file that cannot be removed does no harm.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether a partial file is locked, or that cannot be determined.
fn is_held(path: &Path) -> bool {
    !File::open(path).is_ok_and(|file| file.try_lock().is_ok())
}

/// Whether a process of this number runs on this machine.
#[cfg(unix)]
fn is_alive(process: u32) -> bool {
    use rustix::io::Errno;
    use rustix::process::{Pid, test_kill_process};
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
    // The signal is refused for processes of other users, but that too shows that they exist.
    pid.is_some_and(|pid| test_kill_process(pid) != Err(Errno::SRCH))
}

/// Other systems cannot tell, so nothing is removed.
#[cfg(not(unix))]
fn is_alive(_: u32) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ours_have_a_process() {
        assert_eq!(process_of(".glimpse-12-aB3xyz.partial"), Some(12));
        assert_eq!(process_of(&format!("{}q1{SUFFIX}", prefix(7))), Some(7));
        for foreign in [
            ".glimpse-12.partial",
            ".glimpse-aB3xyz.partial",
            ".glimpse--aB3xyz.partial",
            ".glimpse-+12-aB3xyz.partial",
            ".glimpse-12-.partial",
            ".glimpse-12-a.b.partial",
            ".glimpse-12-aB3xyz",
            "a.partial",
            ".glimpse-99999999999-a.partial",
        ] {
            assert_eq!(process_of(foreign), None, "{foreign}");
        }
    }
}
