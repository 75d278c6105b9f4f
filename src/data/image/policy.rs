//! The policy of this process for image files: limits, strictness, and the handler of warnings.
//!
//! Images are opened in many places (captioning, training, scoring), and all of them must follow the user's options on
//! the command line. The policy is therefore set once, before the first image is opened, and [`Image::open`] follows it
//! everywhere.

use std::path::Path;
use std::sync::OnceLock;

use super::{Image, Limits};
use crate::error::{Error, Result};

/// How a process reads image files.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Limits for each image.
    pub limits: Limits,
    /// Limit for the memory of all images that are being decoded, over all threads, in bytes. An image that needs more
    /// waits until it is decoded alone.
    pub together: u64,
    /// Whether files that are odd, but hold all of their pixels, are refused.
    pub is_strict: bool,
    /// Receives each of an odd file's [`warnings`](Image::warnings), with the file's path.
    pub warn: fn(&Path, &str),
}

impl Default for Policy {
    /// The default limits, for as many images at a time as there are threads; not strict, and warnings are ignored.
    fn default() -> Self {
        Policy {
            limits: Limits::default(),
            together: u64::MAX,
            is_strict: false,
            warn: |_, _| {},
        }
    }
}

static POLICY: OnceLock<Policy> = OnceLock::new();

impl Policy {
    /// Sets the policy of the process, unless it has one already or has opened an image.
    pub fn install(self) {
        let _ = POLICY.set(self);
    }

    /// Returns the policy of the process.
    pub fn current() -> Policy {
        *POLICY.get_or_init(Policy::default)
    }

    /// Passes the image's warnings to `warn`. A strict policy turns the first one into an error.
    pub(super) fn judge(&self, image: Image, name: &Path) -> Result<Image> {
        if self.is_strict {
            return image.strictly().map_err(|e| Error::file(name, e));
        }
        for warning in image.warnings() {
            (self.warn)(name, warning);
        }
        Ok(image)
    }
}
