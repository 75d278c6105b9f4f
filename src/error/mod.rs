//! The one error type of the crate.
//!
//! Every message is a single line. It says what is wrong, where and, if the user can do something about it, what to do.
//! A wrong shape is reported with the operation, the shapes that it takes and the shapes that it got.
//!
//! If an error of the system or of a library is behind it, [`source`](std::error::Error::source) returns that. A message has
//! words of its own.

mod name;
mod reason;

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

pub use name::{Name, is_unsafe, name, serialize_lossy};
pub use reason::{is_link_loop, reason};

/// The error behind an error.
type Source = Box<dyn std::error::Error + Send + Sync>;

/// The error type of the whole crate.
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
        /// The defect of the value.
        what: String,
    },
    /// A file could not be used; the message says why and what to do.
    #[error("{}: {what}", name(path))]
    File {
        /// The file (or `-` for standard input).
        path: PathBuf,
        /// The defect, and what to do about it.
        what: String,
        /// The error of the system or of a library behind it, if there is one.
        source: Option<Source>,
    },
    /// The GPU could not do its work; the message says why and what to do.
    #[error("{device}: {what}")]
    Gpu {
        /// The GPU's name, or `GPU` before one is opened.
        device: String,
        /// The failure, and what to do about it.
        what: String,
        /// The error of the driver or of a library behind it, if there is one.
        source: Option<Source>,
    },
    /// The system did not start a thread; the message has the number of threads or the reason.
    #[error("{what}")]
    Thread {
        /// The failure, and what to do about it.
        what: String,
        /// The error of the system or of a library behind it, if there is one.
        source: Option<Source>,
    },
    /// A request on the command line or in a configuration file is wrong.
    #[error("{0}")]
    Usage(String),
    /// The user pressed Ctrl-C; the message says what was saved and how to go on.
    #[error("{0}")]
    Interrupted(String),
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A wrong shape: `op` takes `expected` and got `got`.
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

    /// The file at `path` cannot be used; `what` says why and what to do.
    pub fn file(path: impl AsRef<Path>, what: impl fmt::Display) -> Self {
        Error::File {
            path: path.as_ref().to_path_buf(),
            what: one_line(&what.to_string()),
            source: None,
        }
    }

    /// The file at `path` cannot be read, for the reason that the system reports.
    pub fn unread(path: impl AsRef<Path>, why: &io::Error) -> Self {
        let error = match why.kind() {
            ErrorKind::NotFound => Error::file(path, "does not exist; check the path"),
            ErrorKind::IsADirectory => Error::file(path, "is a folder, where a file was expected"),
            _ => Error::file(path, format_args!("cannot be read: {}", reason(why))),
        };
        error.because(copy_of(why))
    }

    /// The file at `path` cannot be written, for the reason that the system reports.
    pub fn unwritten(path: impl AsRef<Path>, why: &io::Error) -> Self {
        let error = match why.kind() {
            ErrorKind::NotFound => Error::file(
                path,
                "cannot be written: its folder does not exist; make it first",
            ),
            _ => Error::file(path, format_args!("cannot be written: {}", reason(why))),
        };
        error.because(copy_of(why))
    }

    /// A failure of the GPU named `device`.
    pub fn gpu(device: impl fmt::Display, what: impl fmt::Display) -> Self {
        Error::Gpu {
            device: device.to_string(),
            what: one_line(&what.to_string()),
            source: None,
        }
    }

    /// The system did not start a thread, or not as many as were asked for.
    pub fn thread(what: impl fmt::Display) -> Self {
        Error::Thread {
            what: one_line(&what.to_string()),
            source: None,
        }
    }

    /// A thread cannot be started, for the reason that the system reports.
    pub fn unstarted(why: &io::Error) -> Self {
        let what = format_args!("a thread cannot be started: {}", reason(why));
        Error::thread(what).because(copy_of(why))
    }

    /// This error with the error behind it, which [`source`](std::error::Error::source) then returns. Only errors of files,
    /// threads and the GPU have one.
    pub fn because(mut self, error: impl Into<Source>) -> Self {
        if let Error::File { source, .. }
        | Error::Thread { source, .. }
        | Error::Gpu { source, .. } = &mut self
        {
            *source = Some(error.into());
        }
        self
    }

    /// A wrong request.
    pub fn usage(what: impl fmt::Display) -> Self {
        Error::Usage(one_line(&what.to_string()))
    }
}

/// A copy of an error of the system, which cannot be cloned. Errors that are not the system's own keep kind and text.
fn copy_of(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// Joins the lines of a message into one, drops the numbers of system errors, and escapes characters that a terminal would
/// interpret. A message may contain names from files that somebody else wrote.
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

    #[test]
    fn the_error_of_the_system_is_the_source() {
        use std::error::Error as _;
        fn source(e: &Error) -> Option<&io::Error> {
            e.source().and_then(|e| e.downcast_ref())
        }
        let why = std::fs::read("no such file").unwrap_err();
        for e in [
            Error::unread("a", &why),
            Error::unwritten("a", &why),
            Error::unstarted(&why),
        ] {
            let source = source(&e).unwrap();
            assert_eq!(source.kind(), ErrorKind::NotFound);
            assert_eq!(source.raw_os_error(), why.raw_os_error());
            assert!(!e.to_string().contains("os error"), "{e}");
        }
        let own = io::Error::new(ErrorKind::InvalidData, "not UTF-8");
        let e = Error::unread("a", &own);
        assert_eq!(source(&e).unwrap().to_string(), "not UTF-8");
        assert!(Error::file("a", "is empty").source().is_none());
        let e = Error::gpu("GPU", "was lost").because("gone");
        assert_eq!(e.to_string(), "GPU: was lost");
        assert_eq!(e.source().unwrap().to_string(), "gone");
        assert!(Error::usage("a").because(why).source().is_none());
    }
}
