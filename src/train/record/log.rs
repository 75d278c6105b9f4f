//! The log of a run beside its output: one JSON object per line.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::data::store;
use crate::error::{Error, Result, name};

/// Maximum length of a log's first line, in bytes.
const MOST_FIRST: u64 = 1 << 20;

/// An open log.
pub(super) struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Creates a log at `path` that begins with `lines`, replacing an existing file.
    ///
    /// # Errors
    /// Fails if it cannot be written.
    pub(super) fn open(path: &Path, lines: &[Value]) -> Result<Self> {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        store::write_atomically(path, text.as_bytes())?;
        let real = store::resolve(path)?;
        let file = OpenOptions::new().append(true).open(&real);
        Ok(Log {
            path: path.to_path_buf(),
            file: file.map_err(|e| Error::unwritten(path, &e))?,
        })
    }

    /// Appends a line. The system has it when this returns, so a process that is killed loses nothing.
    ///
    /// # Errors
    /// Fails if it cannot be written.
    pub(super) fn add(&mut self, line: &Value) -> Result<()> {
        let written = self.file.write_all(format!("{line}\n").as_bytes());
        written.map_err(|e| Error::unwritten(&self.path, &e))
    }
}

/// Reads the lines of the log at `path`. An incomplete last line, as a killed run leaves it, is ignored.
///
/// # Errors
/// Fails if it cannot be read, or another line is not a JSON object.
pub fn read(path: &Path) -> Result<Vec<Value>> {
    let bytes = fs::read(path).map_err(|e| Error::unread(path, &e))?;
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = Vec::new();
    let mut all = (1..).zip(text.split('\n')).peekable();
    while let Some((number, line)) = all.next() {
        let is_last = all.peek().is_none();
        match serde_json::from_str::<Value>(line) {
            Ok(value) if value.is_object() => lines.push(value),
            _ if line.trim().is_empty() || is_last => {}
            _ => {
                return Err(Error::file(
                    path,
                    format_args!(
                        "line {number} is no JSON object; a log of `glimpse train` has one in each line"
                    ),
                ));
            }
        }
    }
    Ok(lines)
}

/// Returns whether the file at `path` is a log: its first line names a run, or was cut off by a full disk.
pub(super) fn is_log(path: &Path) -> bool {
    let mut text = String::new();
    let read = File::open(path)
        .and_then(|file| BufReader::new(file.take(MOST_FIRST)).read_line(&mut text));
    if read.is_err() {
        return false;
    }
    match serde_json::from_str::<Value>(&text) {
        Ok(line) => line["event"] == "run",
        Err(_) => text.starts_with("{\"") && !text.ends_with('\n'),
    }
}

/// Returns the lines of the log at `path` up to step `done` of the run of this name. The second value describes what is
/// missing: the lines that cannot be read, or all.
pub(super) fn until(path: &Path, done: u64, run: Option<&str>) -> (Vec<Value>, Option<String>) {
    let none = |what: &str| {
        let path = name(path);
        let begins = format!(
            "{path}: {what}; the log and the report begin at step {}",
            done + 1
        );
        (Vec::new(), Some(begins))
    };
    let Ok(bytes) = fs::read(path) else {
        return none("the log of the steps before is not there or cannot be read");
    };
    let text = String::from_utf8_lossy(&bytes);
    // A killed run leaves its last line incomplete.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let (mut lines, mut broken) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(whole.lines()) {
        match serde_json::from_str::<Value>(line) {
            Ok(value) if value["step"].as_u64().is_some_and(|step| step > done) => break,
            Ok(value) if value.is_object() => lines.push(value),
            _ if line.trim().is_empty() => {}
            _ => broken.push(number),
        }
    }
    let is_named = |line: &&Value| line["event"] == "run";
    let Some(named) = lines.iter().rev().find(is_named) else {
        return none("holds no run");
    };
    if named["run"].as_str() != run {
        return none("is the log of another run");
    }
    let missing = broken.first().map(|line: &u64| {
        let (path, count) = (name(path), broken.len());
        format!("{path}: {count} of its lines cannot be read, the first is line {line}; they are left out")
    });
    (lines, missing)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_run_that_goes_on_has_each_step_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log.jsonl");
        let mut log = Log::open(&path, &[json!({ "event": "run", "run": "r" })]).unwrap();
        for step in 1..=5 {
            log.add(&json!({ "step": step, "loss": 1.0 })).unwrap();
        }
        log.add(&json!({ "event": "notice", "text": "late" }))
            .unwrap();
        log.file.write_all(b"{\"step\": 6, \"lo").unwrap();
        assert_eq!(read(&path).unwrap().len(), 7);
        assert!(is_log(&path));
        for (text, expected) in [
            ("{\"event\": \"ru", true),
            ("{\"event\": \"step\"}\n", false),
            ("a diary\n", false),
            ("a diary", false),
        ] {
            fs::write(dir.path().join("b"), text).unwrap();
            assert_eq!(is_log(&dir.path().join("b")), expected, "{text}");
        }
        let (kept, missing) = until(&path, 3, Some("r"));
        assert_eq!((kept.len(), missing), (4, None));
        assert_eq!(kept[3]["step"], 3);
        let mut log = Log::open(&path, &kept).unwrap();
        log.add(&json!({ "step": 4 })).unwrap();
        let steps: Vec<u64> = read(&path)
            .unwrap()
            .iter()
            .filter_map(|l| l["step"].as_u64())
            .collect();
        assert_eq!(steps, [1, 2, 3, 4]);
    }

    #[test]
    fn what_is_lost_of_a_log_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log.jsonl");
        for (text, kept, part) in [
            (
                "",
                0,
                "holds no run; the log and the report begin at step 4",
            ),
            ("{\"step\": 1}\n", 0, "holds no run"),
            (
                "{\"event\": \"run\", \"run\": \"other\"}\n",
                0,
                "is the log of another run",
            ),
            (
                "{\"event\": \"run\", \"run\": \"r\"}\n{\"step\": 1}\nno\n{\"step\": 2}\n[]\n{\"step\": 3}\n",
                4,
                "2 of its lines cannot be read, the first is line 3",
            ),
        ] {
            fs::write(&path, text).unwrap();
            let (lines, missing) = until(&path, 3, Some("r"));
            assert_eq!(lines.len(), kept, "{text}");
            assert!(
                missing.as_ref().is_some_and(|m| m.contains(part)),
                "{missing:?}"
            );
        }
        let (_, missing) = until(&dir.path().join("none"), 3, Some("r"));
        assert!(missing.unwrap().contains("is not there"));
        fs::write(&path, "{}\nno\n{}\n").unwrap();
        assert!(
            read(&path)
                .unwrap_err()
                .to_string()
                .contains("line 2 is no JSON object")
        );
    }
}
