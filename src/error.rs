//! The one error type of the engine.
//!
//! Every message is a single line that says what was wrong, where, and, when
//! there is something to do about it, what to do. Shape mistakes name the
//! operation, the shapes it takes and the shapes it got.

use std::fmt;
use std::path::{Path, PathBuf};

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
    #[error("{}: {what}", path.display())]
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

/// Folds a library's message, which may span lines, into one, and makes visible what a terminal would obey: names out of
/// foreign files are in messages too.
fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.contains(char::is_control) {
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
        let e = Error::shape("linear", "[N, 4]", "[2, 3]");
        assert_eq!(e.to_string(), "linear: expected [N, 4], got [2, 3]");
    }
}
