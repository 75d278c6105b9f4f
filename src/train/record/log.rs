//! The log of a run beside its output: a JSON object in each line.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::data::store;
use crate::error::{Error, Result};
use crate::train::config::change::differences;
use crate::train::config::fields::field;

/// An open log.
pub(super) struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// A log at `path` that begins with `lines`; what was there before is replaced.
    ///
    /// # Errors
    /// Where it cannot be written.
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

    /// Adds a line. It is with the system when this returns, so that a process that is killed loses nothing.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub(super) fn add(&mut self, line: &Value) -> Result<()> {
        let written = self.file.write_all(format!("{line}\n").as_bytes());
        written.map_err(|e| Error::unwritten(&self.path, &e))
    }
}

/// The lines of the log at `path`. A last line that a killed run left unfinished is left out.
///
/// # Errors
/// Where it cannot be read, or another line is no JSON object.
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

/// The lines of the log at `path` up to step `done`, where it is the log of a run with this configuration; else none.
pub(super) fn until(path: &Path, done: u64, config: &Value) -> Vec<Value> {
    let Ok(mut lines) = read(path) else {
        return Vec::new();
    };
    let is_later = |line: &Value| line["step"].as_u64().is_some_and(|step| step > done);
    if let Some(first) = lines.iter().position(is_later) {
        lines.truncate(first);
    }
    let run = lines.iter().rev().find(|line| line["event"] == "run");
    let is_same = run.is_some_and(|run| {
        let differ = differences(&run["config"], config);
        // Settings that a run may change while it goes on tell nothing.
        let is_fixed = |key: &str| field(key).is_none_or(|field| !field.fixed.is_empty());
        !differ.iter().any(|(key, ..)| is_fixed(key))
    });
    if is_same { lines } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_run_that_goes_on_has_each_step_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log.jsonl");
        let config = json!({ "seed": 1, "epochs": 3 });
        let mut log = Log::open(&path, &[json!({ "event": "run", "config": config })]).unwrap();
        for step in 1..=5 {
            log.add(&json!({ "step": step, "loss": 1.0 })).unwrap();
        }
        log.add(&json!({ "event": "notice", "text": "late" }))
            .unwrap();
        log.file.write_all(b"{\"step\": 6, \"lo").unwrap();
        assert_eq!(read(&path).unwrap().len(), 7);
        let kept = until(&path, 3, &json!({ "seed": 1, "epochs": 9 }));
        assert_eq!(kept.len(), 4);
        assert_eq!(kept[3]["step"], 3);
        assert!(until(&path, 3, &json!({ "seed": 2, "epochs": 3 })).is_empty());
        assert!(until(&dir.path().join("none"), 3, &config).is_empty());
        let mut log = Log::open(&path, &kept).unwrap();
        log.add(&json!({ "step": 4 })).unwrap();
        let steps: Vec<u64> = read(&path)
            .unwrap()
            .iter()
            .filter_map(|l| l["step"].as_u64())
            .collect();
        assert_eq!(steps, [1, 2, 3, 4]);
        fs::write(&path, "{}\nno\n{}\n").unwrap();
        assert!(
            read(&path)
                .unwrap_err()
                .to_string()
                .contains("line 2 is no JSON object")
        );
    }
}
