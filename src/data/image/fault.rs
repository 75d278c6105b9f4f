//! Why bytes are no picture, in words that are the same whatever the format and whoever decodes it.

use std::fmt;

/// Why bytes are no picture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Unreadable {
    /// What kind of thing is wrong.
    pub fault: Fault,
    /// What is wrong, without the file's name.
    pub what: String,
}

/// What kind of thing can be wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is beyond the [`Limits`](super::Limits).
    TooLarge,
    /// It is no image, or one of a kind that is not supported.
    Foreign,
    /// It is empty, cut off, or contradicts itself.
    Damaged,
}

impl Fault {
    /// This kind of fault, with what is wrong.
    pub(super) fn because(self, what: impl Into<String>) -> Unreadable {
        Unreadable {
            fault: self,
            what: what.into(),
        }
    }
}

/// What to do about a file that lost a part of itself.
pub(super) const COPY_AGAIN: &str = "copy or download it again";

/// A file that ends within its header.
pub(super) fn no_header(format: &str) -> Unreadable {
    Fault::Damaged.because(format!(
        "is cut off: the {format} file ends within its header; {COPY_AGAIN}"
    ))
}

/// A file that holds `rows` of the `height` rows of its picture.
pub(super) fn rows_missing(rows: u32, height: u32) -> Unreadable {
    let missing = height.saturating_sub(rows);
    let what = match rows {
        0 => format!("all {height} rows of pixels are missing"),
        _ => format!("{missing} of {height} rows of pixels are missing"),
    };
    Fault::Damaged.because(format!("is cut off: {what}; {COPY_AGAIN}"))
}

/// A file of `format` whose parts contradict each other: `what` says how.
pub(super) fn damaged(format: &str, what: impl fmt::Display) -> Unreadable {
    Fault::Damaged.because(format!(
        "is damaged: the {format} file {what}; {COPY_AGAIN}"
    ))
}

/// A kind of `format` that is not decoded here: `what` names it.
pub(super) fn unsupported(format: &str, what: impl fmt::Display) -> Unreadable {
    Fault::Foreign.because(format!(
        "is a kind of {format} that is not supported ({what}); save it again as an ordinary JPEG or PNG"
    ))
}

/// A side of zero pixels.
pub(super) fn no_pixels(width: u32, height: u32) -> Unreadable {
    Fault::Damaged.because(format!("is damaged: it claims {width} x {height} pixels"))
}
