//! Divides the memory of the service.
//!
//! A service that strangers can reach must know in advance how much memory it takes. The memory at the start (the
//! model, the threads) is measured; that of connections and of the model's batches is set aside. A part of the rest
//! holds uploads, and the remainder is for decoding them, where each image is charged the cost that its headers
//! announce. None of this grows with the number of threads.

use super::Options;
use crate::cpu::memory;
use crate::error::{Error, Result};

/// The memory of an open connection, at most: its buffers for requests and answers.
pub const CONNECTION_BYTES: usize = 64 << 10;

/// The memory of an image in the model's batch: the activations of an encoder and of a search, with a margin.
const BATCH_IMAGE_BYTES: usize = 20 << 20;

/// The memory of an image that waits for the model, at the encoder's input size.
const QUEUED_IMAGE_BYTES: usize = 512 << 10;

/// The assumed memory of the process if the system does not report it.
const UNKNOWN: usize = 96 << 20;

/// The smallest amount for either purpose: with less, an ordinary photo could not be captioned.
const MIN_SHARE: usize = 32 << 20;

/// The divisor of the rest that gives the default memory for uploads: a fifth.
const UPLOAD_DIVISOR: usize = 5;

/// The memory for each purpose, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// For uploads.
    pub uploads: usize,
    /// For the largest image that is decoded, and for all large ones together. Small ones have a quarter as much in
    /// addition.
    pub decoding: u64,
}

impl Shares {
    /// Divides the memory that `options` grant.
    ///
    /// # Errors
    /// If it is too little to caption a photo.
    pub fn new(options: &Options) -> Result<Self> {
        let shares = Shares::beside(resident().unwrap_or(UNKNOWN), options)?;
        // Buffers that operations keep for later ones count as the batch's.
        memory::set_limit(options.batch * BATCH_IMAGE_BYTES / 2);
        Ok(shares)
    }

    /// Divides the memory that is left beside the `resident` bytes of the process.
    fn beside(resident: usize, options: &Options) -> Result<Self> {
        let aside = resident
            + options.connections * CONNECTION_BYTES / 4
            + options.batch * BATCH_IMAGE_BYTES
            + options.queue * QUEUED_IMAGE_BYTES;
        let least_uploads = options.held_bytes.unwrap_or(MIN_SHARE).max(MIN_SHARE);
        let least = aside + least_uploads + MIN_SHARE;
        if options.memory_bytes < least {
            return Err(Error::usage(format_args!(
                "--memory-mb {} is too little: the model, {} connections, a batch of {} and uploads take {} MB; grant at \
                 least that, or lower --max-connections, --batch, --queue or --upload-memory-mb",
                options.memory_bytes >> 20,
                options.connections,
                options.batch,
                least.div_ceil(1 << 20),
            )));
        }
        let rest = options.memory_bytes - aside;
        // The largest upload must fit, if the rest allows it at all.
        let usual = (rest / UPLOAD_DIVISOR)
            .max(MIN_SHARE)
            .max(options.upload_bytes.min(rest / 2));
        let uploads = options.held_bytes.unwrap_or(usual);
        Ok(Shares {
            uploads,
            decoding: (rest - uploads) as u64 / 5 * 4,
        })
    }
}

/// Returns the resident memory of the process in bytes, if the system reports it.
pub(super) fn resident() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: usize = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shares_together_are_what_is_granted() {
        let options = Options::default();
        let shares = Shares::beside(50 << 20, &options).unwrap();
        let aside = (50 << 20) + 512 * (16 << 10) + 4 * (20 << 20) + 64 * (512 << 10);
        let all = aside + shares.uploads + shares.decoding as usize / 4 * 5;
        assert!(all <= options.memory_bytes && all + 8 > options.memory_bytes);
        // A photo of 50 megapixels.
        assert!(shares.decoding > 150 << 20, "{shares:?}");

        let more = Options {
            memory_bytes: 2 << 30,
            held_bytes: Some(100 << 20),
            ..Options::default()
        };
        let shares = Shares::beside(50 << 20, &more).unwrap();
        assert_eq!(shares.uploads, 100 << 20);
        assert!(shares.decoding > 1 << 30);
    }

    #[test]
    fn too_little_is_refused_with_what_is_enough() {
        let little = |megabytes: usize| Options {
            memory_bytes: megabytes << 20,
            ..Options::default()
        };
        let error = Shares::beside(50 << 20, &little(100))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("--memory-mb 100 is too little"),
            "{error}"
        );
        let enough = error
            .split(" MB")
            .next()
            .unwrap()
            .rsplit(' ')
            .next()
            .unwrap();
        Shares::beside(50 << 20, &little(enough.parse().unwrap())).unwrap();
    }
}
