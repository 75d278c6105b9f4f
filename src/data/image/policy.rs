//! How this process reads image files: what it accepts, and whom it tells about odd ones.
//!
//! Images are opened in many places (captioning, training, scoring), and all of them shall follow what the user said on
//! the command line. So that is said once, before the first image is opened, and holds for [`Image::open`] everywhere.

use std::path::Path;
use std::sync::OnceLock;

use super::{Image, Limits};
use crate::error::{Error, Result};

/// What a process accepts.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// What an image may cost.
    pub limits: Limits,
    /// Memory that images may take while they are decoded, all threads together, in bytes. One that needs more waits until
    /// it is alone.
    pub together: u64,
    /// Whether files that are odd, but hold all of their pixels, are refused.
    pub is_strict: bool,
    /// Takes each of an odd file's [`warnings`](Image::warnings), with the file.
    pub warn: fn(&Path, &str),
}

impl Default for Policy {
    /// The default limits, as many at a time as there are threads, not strict, telling nobody.
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
    /// Makes this the policy of the process, unless it has one already or has opened an image.
    pub fn install(self) {
        let _ = POLICY.set(self);
    }

    /// The policy of the process.
    pub fn current() -> Policy {
        *POLICY.get_or_init(Policy::default)
    }

    /// Gives each of the image's warnings to `warn`. A strict policy makes the first one an error.
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
