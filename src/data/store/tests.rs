//! Tests: one writer, only plain files replaced, no partial files left behind.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use super::*;

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_link_stays_and_its_file_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("far")).unwrap();
    fs::write(at("far/model"), "old").unwrap();
    symlink("far/model", at("near")).unwrap();
    symlink("near", at("nearer")).unwrap();
    check(&at("nearer")).unwrap();
    write_atomically(&at("nearer"), b"new").unwrap();
    assert_eq!(fs::read(at("far/model")).unwrap(), b"new");
    // A link to a file that does not exist yet names that file.
    symlink("far/later", at("hope")).unwrap();
    write_atomically(&at("hope"), b"there").unwrap();
    assert_eq!(fs::read(at("far/later")).unwrap(), b"there");
    for link in ["near", "nearer", "hope"] {
        assert!(fs::symlink_metadata(at(link)).unwrap().is_symlink());
    }
    assert_eq!(names(&at("far")), ["later", "model"]);

    symlink("b", at("a")).unwrap();
    symlink("a", at("b")).unwrap();
    let message = write_atomically(&at("a"), b"x").unwrap_err().to_string();
    assert!(message.contains("leads back to itself"), "{message}");
}

#[test]
fn what_is_no_plain_file_is_refused_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let made = Command::new("mkfifo").arg(at("pipe")).status().unwrap();
    assert!(made.success());
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    symlink("/dev/null", at("nothing")).unwrap();
    fs::create_dir(at("folder")).unwrap();
    let before = names(dir.path());
    for (path, what) in [
        (at("pipe"), "is a pipe"),
        (at("socket"), "is a socket"),
        (at("nothing"), "is a device"),
        ("/dev/null".into(), "is a device"),
        ("/dev/stdout".into(), "is something that is open already"),
        (at("folder"), "is a folder"),
    ] {
        for refused in [check(&path), write_atomically(&path, b"x")] {
            let message = refused.unwrap_err().to_string();
            assert!(
                message.starts_with(path.to_str().unwrap()) && message.contains(what),
                "{message}"
            );
        }
    }
    assert_eq!(names(dir.path()), before);
    assert!(!fs::metadata("/dev/null").unwrap().is_file());
}

#[test]
fn a_file_keeps_its_mode() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model");
    for mode in [0o600, 0o640, 0o755] {
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        write_atomically(&path, b"new").unwrap();
        let found = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(found & 0o7777, mode);
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }
}

#[test]
fn leftovers_of_dead_processes_go_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut dead = Command::new("true").spawn().unwrap();
    dead.wait().unwrap();
    let (dead, live) = (dead.id(), std::process::id());
    let left = format!(".glimpse-{dead}-abcdef.partial");
    let stays = [
        // Of a process on this machine, of one on another machine, and of no process of this program.
        format!(".glimpse-{live}-abcdef.partial"),
        format!(".glimpse-{dead}-locked.partial"),
        ".glimpse-foreign.partial".to_string(),
        format!("glimpse-{dead}-abcdef.partial"),
    ];
    for name in stays.iter().chain([&left]) {
        fs::write(dir.path().join(name), "x").unwrap();
    }
    let locked = File::open(dir.path().join(&stays[1])).unwrap();
    locked.try_lock().unwrap();
    write_atomically(&dir.path().join("model"), b"x").unwrap();
    let mut expected = stays.to_vec();
    expected.push("model".into());
    expected.sort();
    assert_eq!(names(dir.path()), expected);
}

#[test]
fn what_cannot_be_filled_is_no_output() {
    let dir = tempfile::tempdir().unwrap();
    check(&dir.path().join("a")).unwrap();
    assert!(names(dir.path()).is_empty());
    let message = check(&dir.path().join("no/a")).unwrap_err().to_string();
    assert!(message.contains("its folder does not exist"), "{message}");
    // A file system that accepts no files from anybody.
    if Path::new("/sys/kernel").is_dir() {
        symlink("/sys/kernel/a", dir.path().join("link")).unwrap();
        let message = check(&dir.path().join("link")).unwrap_err().to_string();
        assert!(message.contains("cannot be written"), "{message}");
    }
}

#[test]
fn an_output_has_one_writer() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    // A lock file that a killed process left does not block others.
    fs::write(at(".a.lock"), "process 1\n").unwrap();
    let first = Lock::take(&at(".a.lock"), &at("a")).unwrap();
    let refused = Lock::take(&at(".a.lock"), &at("a")).err().unwrap();
    let message = refused.to_string();
    let expected = format!(
        "a: another run, process {}, is writing it",
        std::process::id()
    );
    assert!(message.contains(&expected), "{message}");
    drop(first);
    assert!(names(dir.path()).is_empty());
    Lock::take(&at(".a.lock"), &at("a")).unwrap();
}
