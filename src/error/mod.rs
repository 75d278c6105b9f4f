//! The one error type of the engine.
//!
//! Every message is a single line that says what was wrong, where, and, when
//! there is something to do about it, what to do. Shape mistakes name the
//! operation, the shapes it takes and the shapes it got.

mod name;
mod reason;

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

pub use name::{Name, is_unsafe, name, serialize_lossy};
pub use reason::{is_link_loop, reason};

/// What can go wrong, in one enum for the whole crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An operation was given tensors whose shapes do not fit it.
    #[error("{op}: expected {expected}, got {got}")]
    Shape {
        /// The operation, as its function is spelled.
        op: &'static str,
        /// The shapes it takes, in words.
        expected: String,
        /// The shapes it was given.
        got: String,
    },
    /// An operation was given a value outside its domain (a stride of zero, a token beyond the vocabulary).
    #[error("{op}: {what}")]
    Value {
        /// The operation, as its function is spelled.
        op: &'static str,
        /// What was wrong with the value.
        what: String,
    },
    /// A file could not be used; the message says why and what to do.
    #[error("{}: {what}", name(path))]
    File {
        /// The file (or `-` for standard input).
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The graphics device could not do what was asked of it; the message says why and what to do.
    #[error("{device}: {what}")]
    Gpu {
        /// The device's name, or `GPU` where there is none yet.
        device: String,
        /// What went wrong.
        what: String,
    },
    /// Something asked for on the command line or in a configuration file makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The user pressed Ctrl-C; the message says what was saved and how to go on.
    #[error("{0}")]
    Interrupted(String),
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A shape mistake: `op` wanted `expected` and got `got`.
    pub fn shape(op: &'static str, expected: impl fmt::Display, got: impl fmt::Display) -> Self {
        Error::Shape {
            op,
            expected: expected.to_string(),
            got: got.to_string(),
        }
    }

    /// A value outside the domain of `op`.
    pub fn value(op: &'static str, what: impl fmt::Display) -> Self {
        Error::Value {
            op,
            what: what.to_string(),
        }
    }

    /// Something wrong with the file at `path`.
    pub fn file(path: impl AsRef<Path>, what: impl fmt::Display) -> Self {
        Error::File {
            path: path.as_ref().to_path_buf(),
            what: one_line(&what.to_string()),
        }
    }

    /// The file at `path` cannot be read, as the system says.
    pub fn unread(path: impl AsRef<Path>, why: &io::Error) -> Self {
        match why.kind() {
            ErrorKind::NotFound => Error::file(path, "does not exist; check the path"),
            ErrorKind::IsADirectory => Error::file(path, "is a folder, where a file was expected"),
            _ => Error::file(path, format_args!("cannot be read: {}", reason(why))),
        }
    }

    /// The file at `path` cannot be written, as the system says.
    pub fn unwritten(path: impl AsRef<Path>, why: &io::Error) -> Self {
        match why.kind() {
            ErrorKind::NotFound => Error::file(
                path,
                "cannot be written: its folder does not exist; make it first",
            ),
            _ => Error::file(path, format_args!("cannot be written: {}", reason(why))),
        }
    }

    /// Something that the graphics device `device` could not do.
    pub fn gpu(device: impl fmt::Display, what: impl fmt::Display) -> Self {
        Error::Gpu {
            device: device.to_string(),
            what: one_line(&what.to_string()),
        }
    }

    /// A request that makes no sense.
    pub fn usage(what: impl fmt::Display) -> Self {
        Error::Usage(one_line(&what.to_string()))
    }
}

/// Folds a message that spans lines into one, drops the numbers of system errors, and makes visible what a terminal would
/// obey: names out of foreign files are in messages too.
fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = reason::without_numbers(&line);
    match line.contains(is_unsafe) {
        true => line.escape_debug().to_string(),
        false => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_one_line_and_name_the_place() {
        let e = Error::file("a/b.png", "bad\n  header");
        assert_eq!(e.to_string(), "a/b.png: bad header");
        let e = Error::file("a", "tensor `\x1b[2J`");
        assert_eq!(e.to_string(), "a: tensor `\\u{1b}[2J`");
        let e = Error::file("a\nb\x1b[2J", "is empty");
        assert_eq!(e.to_string(), "a\\nb\\033[2J: is empty");
        let e = Error::file("a", io::Error::from_raw_os_error(5));
        assert!(!e.to_string().contains("os error"), "{e}");
        let e = Error::shape("linear", "[N, 4]", "[2, 3]");
        assert_eq!(e.to_string(), "linear: expected [N, 4], got [2, 3]");
    }
}
