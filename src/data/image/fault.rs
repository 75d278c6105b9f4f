//! Errors for bytes that are not a usable image, in the same words for all formats and decoders.

use std::fmt;

/// An error: why bytes are not a usable image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Unreadable {
    /// The kind of error.
    pub fault: Fault,
    /// The message, without the file's name.
    pub what: String,
}

/// The kinds of errors in an image file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The image is beyond the [`Limits`](super::Limits).
    TooLarge,
    /// The file is not an image, or one of a kind that is not supported.
    Foreign,
    /// The file is empty, cut off, or inconsistent.
    Damaged,
}

impl Fault {
    /// Creates an error of this kind with a message.
    pub(super) fn because(self, what: impl Into<String>) -> Unreadable {
        Unreadable {
            fault: self,
            what: what.into(),
        }
    }
}

/// Advice for a file that lost a part of itself.
pub(super) const COPY_AGAIN: &str = "copy or download it again";

/// Creates the error for a file that ends within its header.
pub(super) fn no_header(format: &str) -> Unreadable {
    Fault::Damaged.because(format!(
        "is cut off: the {format} file ends within its header; {COPY_AGAIN}"
    ))
}

/// Creates the error for a file that holds `rows` of the `height` rows of its picture.
pub(super) fn rows_missing(rows: u32, height: u32) -> Unreadable {
    let missing = height.saturating_sub(rows);
    let what = match rows {
        0 => format!("all {height} rows of pixels are missing"),
        _ => format!("{missing} of {height} rows of pixels are missing"),
    };
    Fault::Damaged.because(format!("is cut off: {what}; {COPY_AGAIN}"))
}

/// Creates the error for a file of `format` whose parts are inconsistent; `what` says how.
pub(super) fn damaged(format: &str, what: impl fmt::Display) -> Unreadable {
    Fault::Damaged.because(format!(
        "is damaged: the {format} file {what}; {COPY_AGAIN}"
    ))
}

/// Creates the error for a kind of `format` that is not supported; `what` names it.
pub(super) fn unsupported(format: &str, what: impl fmt::Display) -> Unreadable {
    Fault::Foreign.because(format!(
        "is a kind of {format} that is not supported ({what}); save it again as an ordinary JPEG or PNG"
    ))
}

/// Creates the error for a picture with a side of zero pixels.
pub(super) fn no_pixels(width: u32, height: u32) -> Unreadable {
    Fault::Damaged.because(format!("is damaged: it claims {width} x {height} pixels"))
}
