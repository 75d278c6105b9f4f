//! Output of all commands, and where they may write.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::error::{Error, Result, is_unsafe, name, reason};

/// Prints a line of results on standard output.
///
/// If the reader has closed the pipe (`glimpse … | head -1`), the program ends.
///
/// # Errors
/// If standard output cannot be written, such as a file on a full disk.
pub fn line(text: impl Display) -> Result<()> {
    match try_line(text) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        written => written.map_err(|e| unprinted(&e)),
    }
}

/// The error of a standard output that cannot be written.
pub fn unprinted(why: &io::Error) -> Error {
    Error::file(
        "standard output",
        format_args!("cannot be written: {}", reason(why)),
    )
}

/// Prints like [`line()`], for work that continues even if nobody reads its output.
///
/// # Errors
/// As the system reports them.
pub fn try_line(text: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Prints `value` as a line of JSON.
///
/// # Errors
/// As [`line()`].
pub fn json(value: &impl Serialize) -> Result<()> {
    line(json_text(value)?)
}

/// `value` as one line of JSON, with characters escaped that would end the line or control a terminal.
///
/// # Errors
/// If it has no such form.
pub fn json_text(value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string(value).map_err(|_| no_json())?;
    if !text.contains(is_unsafe) {
        return Ok(text);
    }
    // JSON itself escapes only the control characters of ASCII. The others occur only inside strings, so they can be
    // escaped.
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match is_unsafe(c) {
            true => safe += &format!("\\u{:04x}", u32::from(c)),
            false => safe.push(c),
        }
    }
    Ok(safe)
}

fn no_json() -> Error {
    Error::usage("the answer holds what JSON has no form for; this is a mistake in Glimpse")
}

/// `value` as a tree of JSON values.
///
/// # Errors
/// If it has no such form.
pub fn json_value(value: &impl Serialize) -> Result<serde_json::Value> {
    serde_json::to_value(value).map_err(|_| no_json())
}

/// Prints a message on standard error.
pub fn complain(error: impl Display) {
    note(format_args!("glimpse: {error}"));
}

/// Prints a warning about the file at `path` on standard error, once however often the file is read.
pub fn warn_of(path: &Path, what: &str) {
    static TOLD: Mutex<BTreeSet<(PathBuf, String)>> = Mutex::new(BTreeSet::new());
    let told = TOLD
        .lock()
        .map(|mut told| told.insert((path.to_path_buf(), what.to_string())));
    if told.unwrap_or(true) {
        complain(format_args!("warning: {}: {what}", name(path)));
    }
}

/// Prints a line on standard error that is not an error message.
///
/// The programs write to standard error only here. `eprintln!` panics if standard error is full or its reader has
/// closed the pipe, and no message is worth the work that would be lost.
pub fn note(text: impl Display) {
    let _ = StandardError.write_all(format!("{text}\n").as_bytes());
}

/// Prints lines on standard error; nothing if there are none.
pub fn notes(lines: &str) {
    if !lines.is_empty() {
        note(lines.trim_end());
    }
}

/// Standard error as a [`Write`] that never fails: bytes that cannot be written are dropped. The exit status still
/// tells.
pub struct StandardError;

impl Write for StandardError {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = io::stderr().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Ends the program for a wrong command line with clap's exit status.
pub fn misused(what: impl Display) -> ExitCode {
    complain(what);
    ExitCode::from(2)
}

/// A progress bar on standard error if that is a terminal; otherwise a hidden one.
///
/// `template` has the syntax of `indicatif`.
pub fn progress(template: &str, total: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template(template).unwrap_or(ProgressStyle::default_bar());
    ProgressBar::new(total).with_style(style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_stays_one_line_and_means_the_same() {
        let text = "a\nb\x1b[2J\x7f\u{9b}\u{2028}\u{202e}\\ é 日";
        let json = json_text(&text).unwrap();
        assert!(!json.contains(is_unsafe), "{json}");
        assert!(json.contains("é 日"), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }
}
